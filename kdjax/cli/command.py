"""A command: settings, defaults, work folder, work and report."""

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from etils import epath

import kdjax
from kdjax import methods
from kdjax.cli import defaults, flags
from kdjax.cli.defaults import Default
from kdjax.cli.exit_status import (
  escape_unprintable_names,
  exit_status,
  fail,
  hide_checkpoint_tracebacks,
)
from kdjax.cli.settings_check import check_settings
from kdjax.cli.work_folder import WorkFolder, hold
from kdjax.paths import any_path
from kdjax.runtime import files
from kdjax.runtime.cache import cache_folder
from kdjax.runtime.mesh import Devices, all_devices
from kdjax.runtime.progress import Progress
from kdjax.runtime.report_folder import check_report_folder
from kdjax.runtime.signals import StopRequest, stop_on_signals
from kdjax.studies import Comparison, Session, Study
from kdjax.train import DivergedError, Recipe


class Config(Protocol):
  """A dataclass of settings; its fields are the flags of the command."""

  @property
  def title(self) -> str:
    """Description in the name of a new work folder."""
    ...

  @property
  def recipe(self) -> Recipe:
    """Recipe of the training."""
    ...


class Work(Protocol):
  """The work of a command in its work folder."""

  def run(self) -> Study:
    """Does the unfinished work."""
    ...


ConfigT = TypeVar('ConfigT', bound=Config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(Generic[ConfigT]):
  """A command of `experiments`.

  Attributes:
    name: Module of the command, e.g. `experiments.digits`.
    description: Text at the head of `--help`.
    config: Dataclass of its settings, all with defaults.
    deciding: Flags that decide the defaults of others, out of method, dataset,
      teacher and student.
    presets: Returns the defaults that these decide, for a configuration that
      has their values; see `kdjax.cli.defaults`.
    resolve: Returns a configuration without None where the value follows from
      other settings, and the defaults that were filled in.
    work: Makes the work of a configuration and a `kdjax.studies.Session`.
    share_cores: Whether the cores of a CPU share each batch. Small images cost
      less than the communication between cores.
  """

  name: str
  description: str | None
  config: type[ConfigT]
  deciding: tuple[str, ...] = ()
  presets: Callable[[ConfigT], Sequence[Default]] = lambda config: ()
  resolve: Callable[[ConfigT], tuple[ConfigT, list[Default]]] = defaults.resolve
  work: Callable[..., Work] = Comparison
  share_cores: bool = True

  def make_config(self, **deciding: str) -> ConfigT:
    """Returns the default configuration.

    Args:
      **deciding: Values of deciding flags, e.g. `method='kd+kd2m'`; those that
        are not given have the defaults of the command.

    Raises:
      ValueError: If a method is unknown or cannot be combined.
      TypeError: If a setting is not one of `self.deciding`.
    """
    for name in deciding:
      if name not in self.deciding:
        raise TypeError(
          f'{name} is no deciding setting of {self.name}; these are '
          f'{", ".join(self.deciding) or "none"}.'
        )
    values: dict[str, Any] = dict(deciding)
    if 'method' in values:
      values['method'] = methods.create(values['method'])
    config = dataclasses.replace(self.config(), **values)  # pyright: ignore
    return defaults.apply(config, self.presets(config))

  def parse(self, argv: Sequence[str]) -> flags.CommandLine:
    """Parses a command line; see `flags.parse`."""
    return flags.parse(
      self.make_config,
      argv,
      name=self.name,
      description=self.description,
      deciding=self.deciding,
    )

  def run(
    self,
    config: ConfigT | None = None,
    folder: WorkFolder | None = None,
    *,
    arguments: Sequence[str] = (),
    devices: Devices | None = None,
  ) -> Study:
    """Does the work of the command and writes its report.

    Args:
      config: Settings (default: those of `make_config()`).
      folder: Work folder (default: a new one under `runs/`).
      arguments: Arguments of the command line, for the report.
      devices: Devices (default: all).

    Raises:
      ValueError: If a setting is wrong, or the folder cannot be used.
      DivergedError: If the loss of a run is not finite.
      Interrupted: If a signal stopped the command; everything is saved.
    """
    config = self.make_config() if config is None else config
    config, filled = self.resolve(config)
    used = [*defaults.kept(config, self._presets_of(config)), *filled]
    check_settings(config)
    folder = (folder or WorkFolder()).named(self.name, config.title)
    devices = devices or all_devices()
    progress = Progress(enabled=devices.is_main)
    workdir = any_path(folder.path)
    about = {'command': self.name, 'config': files.to_json(config)}
    with _held(folder, about, devices) as request:
      progress.say(f'{self.name} writes to {workdir}')
      if used:
        progress.say(defaults.describe(used))
      check_report_folder(workdir)
      session = Session(
        workdir=workdir, devices=devices, request=request, progress=progress
      )
      work = self.work(config, session)
      if devices.is_main:
        about['defaults'] = defaults.to_json(used)
        about['arguments'] = list(arguments)
        about['versions'] = files.versions()
        files.write_json(workdir / 'config.json', about)
      study = work.run()
      if devices.is_main and study.has_runs:
        _report(workdir, progress)
    if study.diverged:
      raise DivergedError('\n'.join(study.diverged))
    return study

  def main(self, argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status.

    Args:
      argv: Arguments (default: those of this process).

    Returns:
      See `exit_status`.
    """
    owns_process = argv is None
    if owns_process:
      hide_checkpoint_tracebacks()
      escape_unprintable_names()
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
      line = self.parse(argv)
      check_settings(line.config)
      self.resolve(line.config)  # raises before a folder is made
      cache_folder()  # raises if the environment names none
      share_cores = owns_process and self.share_cores
      devices = _start(line, share_cores=share_cores)
      if owns_process:
        line.compilation.start()
    except ValueError as error:
      return fail(error, 2)
    folder = line.folder.named(self.name, line.config.title)
    return exit_status(
      lambda: self.run(line.config, folder, arguments=argv, devices=devices),
      folder.path,
      resume_command(self.name, line.arguments, folder.path),
    )

  def _presets_of(self, config: ConfigT) -> Sequence[Default]:
    """Returns the presets for the deciding settings of a configuration."""
    values = {name: getattr(config, name) for name in self.deciding}
    base = dataclasses.replace(self.config(), **values)  # pyright: ignore
    return self.presets(base)


def resume_command(
  name: str, arguments: Sequence[str], workdir: epath.PathLike | None
) -> str:
  """Returns the command that resumes a work folder.

  Args:
    name: Module of the command.
    arguments: Its arguments without those of the work folder.
    workdir: The work folder.
  """
  resume = [f'--workdir={workdir}', '--resume']
  return shlex.join(['python', '-m', name, *arguments, *resume])


def _start(line: flags.CommandLine, *, share_cores: bool) -> Devices:
  """Starts the processes of a command and returns its devices.

  Raises:
    ValueError: If flags contradict each other.
  """
  if line.folder.resume and line.folder.workdir is None:
    raise ValueError('--resume needs a work folder: give --workdir=FOLDER.')
  batch_size = line.config.recipe.batch_size if share_cores else None
  return line.processes.start(batch_size)


@contextlib.contextmanager
def _held(
  folder: WorkFolder, about: dict[str, Any], devices: Devices
) -> Iterator[StopRequest]:
  """Holds the work folder in the first process and listens to signals."""
  holding = contextlib.nullcontext()
  if devices.is_main:
    holding = hold(
      any_path(folder.path), about, resume=folder.resume, made=folder.made
    )
  with holding, stop_on_signals() as request:
    yield request


def _report(workdir: epath.Path, progress: Progress) -> None:
  """Writes the report and prints its table.

  `kdjax.report` is imported here because matplotlib takes a second to import.
  """
  kdjax.report.write(workdir)
  progress.console.print(kdjax.report.table(workdir))
  progress.say(f'Report: {workdir / "report" / "report.html"}')
