"""What the commands share: a work folder, processes, and what failed."""

import contextlib
import dataclasses
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import jax
from etils import epath

import kdjax
from experiments import published
from kdjax.cli import flags
from kdjax.cli.work_folder import Place, hold, new_folder
from kdjax.runtime import files
from kdjax.runtime.mesh import Devices, all_devices
from kdjax.runtime.processes import lost_process
from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import Interrupted, stop_on_signals
from kdjax.studies import Comparison, Study
from kdjax.train import DivergedError, Recipe


class Config(Protocol):
  """A dataclass of settings; its fields are the command's flags."""

  @property
  def title(self) -> str:
    """What names a new work folder."""
    ...

  @property
  def recipe(self) -> Recipe:
    """By what it trains."""
    ...


class Work(Protocol):
  """What a command does in its work folder."""

  def run(self) -> Study:
    """All of it; what is finished already stays as it is."""
    ...


ConfigT = TypeVar('ConfigT', bound=Config)


def run(
  config: Config,
  place: Place,
  *,
  name: str,
  arguments: Sequence[str] = (),
  work: Callable[..., Work] = Comparison,
  devices: Devices | None = None,
) -> Study:
  """Does a command's work and writes its report; what notebooks call.

  Args:
    config: What to compare.
    place: Where it is written.
    name: The command's, as in `experiments.digits`.
    arguments: What was given on the command line, for the report.
    work: `(config, workdir, request=…, progress=…, devices=…)` to what is done.
    devices: On which; all there are without.

  Raises:
    ValueError: If something of the configuration or the folder cannot be.
    DivergedError: If a run's loss stops being finite.
    Interrupted: If a signal asked for it; everything is saved.
  """
  devices = devices or all_devices()
  progress = Progress(enabled=devices.is_main)
  workdir = (place.workdir or new_folder(name, config.title)).expanduser()
  progress.say(f'{name} writes to {workdir}')
  about = {'command': name, 'config': files.to_json(config)}
  holding = contextlib.nullcontext()
  if devices.is_main:
    holding = hold(workdir, about, resume=place.resume)
  with holding, stop_on_signals() as request:
    work_here = work(
      config, workdir, request=request, progress=progress, devices=devices
    )
    if devices.is_main:
      made = {'arguments': list(arguments), 'versions': files.versions()}
      files.write_json(workdir / 'config.json', {**about, **made})
    study = work_here.run()
    if devices.is_main and study.has_runs:
      # Pictures cost a second to import: after the last step, not before the
      # first.
      kdjax.report.write(workdir)
      progress.console.print(kdjax.report.table(workdir))
      progress.say(f'Report: {workdir / "report" / "report.html"}')
  return study


def main(
  make_config: Callable[..., ConfigT],
  *,
  name: str,
  default_method: str | None = 'kd2m',
  argv: Sequence[str] | None = None,
  work: Callable[..., Work] = Comparison,
  by_pair: bool = False,
  share_cores: bool = True,
) -> int:
  """A command: its flags, its run, and one readable line when it fails.

  Args:
    make_config: The command's defaults for a method, or without an argument.
    name: As in `experiments.digits`.
    default_method: Where `--method` is not given; None for a command that has
      no methods.
    by_pair: Whether `make_config` also takes `teacher` and `student`, if they
      are given, for what is published for them; it is then said.
    share_cores: Whether the cores of a CPU share each batch, because what its
      images cost is more than what devices have to tell each other.
    argv: The arguments; those of the process without.
    work: As `run` takes it.

  Returns:
    The exit status: 0, 2 for a mistake in the flags or the folders, 1 for a
    run that failed, 128 + the signal's number for one that was stopped.
  """
  alone = argv is None  # this process is the command and nothing else
  if alone:
    _say_it_once()
  argv = list(sys.argv[1:] if argv is None else argv)
  try:
    asked = flags.parse(make_config, argv, name, default_method, by_pair)
    devices = _start(asked, alone=alone, share_cores=alone and share_cores)
  except ValueError as error:
    return _fail(error, 2)
  config, place = asked.config, asked.place
  if by_pair and jax.process_index() == 0:
    print(published.note(config))
  if place.workdir is None:
    place = dataclasses.replace(place, workdir=new_folder(name, config.title))
  return _status(
    lambda: run(
      config, place, name=name, arguments=argv, work=work, devices=devices
    ),
    place.workdir,
    _resume_command(name, argv, place.workdir),
  )


def _start(asked: flags.Asked, *, alone: bool, share_cores: bool) -> Devices:
  """The devices of a command, its programs kept if it is alone in its process.

  Raises:
    ValueError: If the flags contradict each other.
  """
  place = asked.place
  if place.resume and place.workdir is None:
    raise ValueError('--resume goes on with a folder: give --workdir=FOLDER.')
  batch_size = asked.config.recipe.batch_size if share_cores else None
  devices = asked.processes.start(batch_size)
  if alone:
    asked.compilation.start()
  return devices


def _status(
  work: Callable[[], Study], workdir: epath.PathLike | None, resume: str
) -> int:
  """The exit status of a command's work, whose failures are said in a line."""
  try:
    work()
  except DivergedError as error:  # in all processes at once
    return _fail(error, 1)
  except Interrupted as stop:
    if jax.process_index() == 0:
      print(f'Stopped and saved. To go on:\n  {resume}', file=sys.stderr)
    return 128 + stop.signal_number
  except KeyboardInterrupt:  # a second one, or before the first run
    return _fail('stopped at once; what was saved before is kept.', 130)
  except (ValueError, RuntimeError) as error:
    if lost := lost_process(error):
      return _leave_others(_fail(lost, 1))
    if isinstance(error, RuntimeError):
      raise
    return _leave_others(_fail(error, 2))
  except OSError as error:
    where = '' if error.filename else f' in {workdir}'
    saved = 'What was saved before is kept.'
    return _leave_others(_fail(f'{error}{where}. {saved}', 1))
  return 0


def _resume_command(
  name: str, argv: Sequence[str], workdir: epath.PathLike | None
) -> str:
  """The command that goes on with what `argv` began."""
  again, arguments = [], iter(argv)
  for argument in arguments:
    if argument == '--workdir':
      next(arguments, None)
    elif argument != '--resume' and not argument.startswith('--workdir='):
      again.append(argument)
  return shlex.join(
    ['python', '-m', name, *again, f'--workdir={workdir}', '--resume']
  )


def _leave_others(status: int) -> int:
  """Ends a process of several; the others would wait for it for ever."""
  if jax.process_count() > 1:
    sys.stderr.flush()
    os._exit(status)
  return status


def _say_it_once() -> None:
  """Of a checkpoint that cannot be written, leaves out all but our own line.

  Orbax logs what it raises as well, with tracebacks, and what tensorstore still
  had to write ends where nobody can catch it.
  """
  logging.getLogger('absl').addFilter(
    lambda record: f'{os.sep}orbax{os.sep}' not in record.pathname
  )
  say = sys.unraisablehook

  def hook(unraisable):
    if str(unraisable.exc_value) != 'Event loop is closed':
      say(unraisable)

  sys.unraisablehook = hook


def _fail(message, status: int) -> int:
  """Says what failed in one place, and gives the exit status."""
  print(f'error: {message}', file=sys.stderr)
  return status
