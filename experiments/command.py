"""What the commands share: their flags, a work folder, and what failed.

`--method=NAME` is read before the other flags, because it decides which there
are: `--method.weight` belongs to the method. Some commands have no methods.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar

import jax
import tyro

from experiments import published
from experiments.compilation import Compilation
from experiments.place import Place, hold, new_folder
from kdjax import methods, report
from kdjax.train import (
  Comparison,
  DivergedError,
  Interrupted,
  Progress,
  Study,
  all_devices,
  start_processes,
  stop_on_signals,
  writers,
)


class Config(Protocol):
  """A dataclass of settings; its fields are the command's flags."""

  @property
  def title(self) -> str:
    """What names a new work folder."""
    ...


class Work(Protocol):
  """What a command does in its work folder."""

  def run(self) -> Study:
    """All of it; what is finished already stays as it is."""
    ...


ConfigT = TypeVar('ConfigT', bound=Config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
  """One comparison on several machines, by the same command on each.

  Attributes:
    distributed: Join the others; TPU pods, Slurm and Open MPI say where.
    coordinator: HOST:PORT of the first process, where nothing says so.
    num_processes: How many there are then.
    process_id: The number of this one then, from 0; 0 writes the work folder.
  """

  distributed: bool = False
  coordinator: str | None = None
  num_processes: int | None = None
  process_id: int | None = None

  def start(self) -> None:
    """Joins the others, if there are any."""
    if self.distributed or self.coordinator is not None:
      start_processes(self.coordinator, self.num_processes, self.process_id)
    elif self.num_processes is not None or self.process_id is not None:
      raise ValueError(
        '--num_processes and --process_id are for --coordinator=HOST:PORT or '
        '--distributed; give one of them.'
      )


class Asked(NamedTuple):
  """What a command line asks for."""

  config: Any
  place: Place
  processes: Processes
  compilation: Compilation


def run(
  config: Config,
  place: Place,
  *,
  name: str,
  arguments: Sequence[str] = (),
  work: Callable[..., Work] = Comparison,
) -> Study:
  """Does a command's work and writes its report; what notebooks call.

  Args:
    config: What to compare.
    place: Where it is written.
    name: The command's, as in `experiments.digits`.
    arguments: What was given on the command line, for the report.
    work: `(config, workdir, request=…, progress=…, devices=…)` to what is done.

  Raises:
    ValueError: If something of the configuration or the folder cannot be.
    DivergedError: If a run's loss stops being finite.
    Interrupted: If a signal asked for it; everything is saved.
  """
  devices = all_devices()
  progress = Progress(enabled=devices.is_main)
  workdir = (place.workdir or new_folder(name, config.title)).expanduser()
  progress.say(f'{name} writes to {workdir}')
  about = {'command': name, 'config': writers.to_json(config)}
  holding = contextlib.nullcontext()
  if devices.is_main:
    holding = hold(workdir, about, resume=place.resume)
  with holding, stop_on_signals() as request:
    work_here = work(
      config, workdir, request=request, progress=progress, devices=devices
    )
    if devices.is_main:
      made = {'arguments': list(arguments), 'versions': writers.versions()}
      writers.write_json(workdir / 'config.json', {**about, **made})
    study = work_here.run()
    if devices.is_main:
      report.write(workdir)
      progress.console.print(report.table(workdir))
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
) -> int:
  """A command: its flags, its run, and one readable line when it fails.

  Args:
    make_config: The command's defaults for a method, or without an argument.
    name: As in `experiments.digits`.
    default_method: Where `--method` is not given; None for a command that has
      no methods.
    by_pair: Whether `make_config` also takes `teacher` and `student`, if they
      are given, for what is published for them; it is then said.
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
    asked = parse(make_config, argv, name, default_method, by_pair)
    config, place = asked.config, asked.place
    if place.resume and place.workdir is None:
      raise ValueError('--resume goes on with a folder: give --workdir=FOLDER.')
    asked.processes.start()
    if alone:
      asked.compilation.start()
  except ValueError as error:
    return _fail(error, 2)
  if by_pair and jax.process_index() == 0:
    print(published.note(config))
  if place.workdir is None:
    place = dataclasses.replace(place, workdir=new_folder(name, config.title))
  try:
    run(config, place, name=name, arguments=argv, work=work)
  except DivergedError as error:  # in all processes at once
    return _fail(error, 1)
  except Interrupted as stop:
    if jax.process_index() == 0:
      command = _resume_command(name, argv, place.workdir)
      print(f'Stopped and saved. To go on:\n  {command}', file=sys.stderr)
    return 128 + stop.signal_number
  except KeyboardInterrupt:  # a second one, or before the first run
    return _fail('stopped at once; what was saved before is kept.', 130)
  except ValueError as error:
    return _leave_others(_fail(error, 2))
  except OSError as error:
    where = '' if error.filename else f' in {place.workdir}'
    saved = 'What was saved before is kept.'
    return _leave_others(_fail(f'{error}{where}. {saved}', 1))
  return 0


def parse(
  make_config: Callable[..., ConfigT],
  argv: Sequence[str],
  name: str,
  default_method: str | None,
  by_pair: bool = False,
) -> Asked:
  """What flags ask for.

  Raises:
    ValueError: If a value cannot be; unknown flags end the process with a
      message of their own, as is usual.
  """
  description = sys.modules[make_config.__module__].__doc__ or ''
  if default_method is None:
    config, rest = make_config(), list(argv)
  else:
    method, rest = _take_method(argv, default_method)
    pair = _given(rest, ('teacher', 'student')) if by_pair else {}
    config = make_config(methods.create(method), **pair)
    description += (
      f'\n--method=NAME is one of {", ".join(methods.METHODS)}, or several of '
      'them joined by +.'
    )
  rest = _spread(rest, set(_flags_of_several(config)))

  flat = tyro.conf.arg(name='')  # unlike OmitArgPrefixes, keeps `method.`
  flags = dataclasses.make_dataclass(
    'Flags',
    [
      ('config', Annotated[type(config), flat], config),
      ('place', Annotated[Place, flat], Place()),
      ('processes', Annotated[Processes, flat], Processes()),
      ('compilation', Annotated[Compilation, flat], Compilation()),
    ],
    frozen=True,
  )
  asked = tyro.cli(
    flags,
    args=rest,
    prog=f'python -m {name}',
    description=description,
    config=(tyro.conf.FlagCreatePairsOff,),
    use_underscores=True,
  )
  return Asked(asked.config, asked.place, asked.processes, asked.compilation)


def _take_method(argv, default):
  """The value of `--method`, and the other arguments."""
  rest, method = [], default
  arguments = iter(argv)
  for argument in arguments:
    if argument.startswith('--method='):
      method = argument.removeprefix('--method=')
    elif argument == '--method':
      method = next(arguments, '')
    else:
      rest.append(argument)
  return method, rest


def _given(argv: Sequence[str], names: Sequence[str]) -> dict[str, str]:
  """The values of flags that decide the defaults of others."""
  found = {}
  for argument, following in zip(argv, [*argv[1:], '']):
    flag, equals, value = argument.partition('=')
    if flag.removeprefix('--') in names and flag.startswith('--'):
      found[flag[2:]] = value if equals else following
  return found


def _flags_of_several(config: Any, prefix: str = '') -> Iterator[str]:
  """The flags that take more than one value."""
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if isinstance(value, tuple):
      yield f'--{prefix}{field.name}'
    elif isinstance(value, methods.Method):
      yield from _flags_of_several(value, f'{prefix}{field.name}.')
    elif dataclasses.is_dataclass(value):
      yield from _flags_of_several(value, prefix)


def _spread(argv, several):
  """`--seeds=0,1,2` as the separate values that the parser takes."""
  spread, inside = [], False
  for argument in argv:
    flag, equals, value = argument.partition('=')
    if flag.startswith('--'):
      inside = '--' + flag[2:].replace('-', '_') in several
      spread += [flag, *value.split(',')] if inside and equals else [argument]
    else:
      spread += argument.split(',') if inside else [argument]
  return spread


def _resume_command(
  name: str, argv: Sequence[str], workdir: pathlib.Path | None
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
