"""Work folder of a command: its name, its lock and its configuration."""

import contextlib
import dataclasses
import datetime
import errno
import itertools
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO

import jax
import tyro
from etils import epath

from kdjax.cli.flag_types import Folder
from kdjax.paths import check_storable
from kdjax.runtime import files
from kdjax.runtime.run_folder import check_config
from kdjax.runtime.signals import Interrupted

try:
  import fcntl
except ImportError:  # Windows has none
  fcntl = None


# Settings that list runs: a resumed command may have more of them. The settings
# of each run are in its own folder.
_RUN_LISTS = (
  'seeds',
  'methods',
  'changes',
  'sweep',
  'metrics',
  'weight_factors',
)


_RUNS = 'runs'  # where new work folders are made


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkFolder:
  """Work folder of a command.

  Attributes:
    workdir: Work folder, local or in an object store, gs://BUCKET/FOLDER
      (default: a new folder under runs/).
    resume: Resume the runs that the work folder holds.
    made: Number of folders on its path that this command has just made; it
      deletes them if it fails before anything is in them.
  """

  workdir: Folder | None = None
  resume: bool = False
  made: tyro.conf.Suppress[int] = 0

  @property
  def path(self) -> epath.Path:
    """The folder.

    Raises:
      ValueError: If it has no name yet; see `named`.
    """
    if self.workdir is None:
      raise ValueError('The work folder has no name yet.')
    return self.workdir

  def named(self, name: str, title: str) -> 'WorkFolder':
    """Returns a folder with a name: this one, or a new one.

    Args:
      name: Module of the command.
      title: Description of its work.
    """
    if self.workdir is not None:
      return self
    made = 1 if epath.Path(_RUNS).exists() else 2
    return dataclasses.replace(self, workdir=new_folder(name, title), made=made)


def new_folder(name: str, title: str) -> epath.Path:
  """Makes a new folder under `runs/`, named after the command and the time.

  Only the first of several processes makes it; the others do not write.

  Args:
    name: Module of the command, e.g. `experiments.digits`.
    title: Description of its work, part of the name.

  Returns:
    The folder. If it cannot be made, `hold` raises the error.
  """
  now = datetime.datetime.now().strftime('%Y%m%d-%H%M%S')
  title = f'{name.rpartition(".")[2]}-{title}-{now}'
  for number in itertools.count(1):
    folder = epath.Path(_RUNS) / f'{title}{f"-{number}" * (number > 1)}'
    try:
      if jax.process_index() == 0:
        folder.mkdir(parents=True)
      return folder
    except FileExistsError:  # another command started in this second
      continue
    except OSError:
      return folder
  raise AssertionError('itertools.count() has no end')


@contextlib.contextmanager
def hold(
  workdir: epath.PathLike, about: dict, *, resume: bool, made: int = 0
) -> Iterator[None]:
  """Makes a work folder and locks it against other commands.

  The lock ends with the process. It holds on this machine only, and object
  stores have none. If the command fails before anything is in the folder, what
  was made is deleted.

  Args:
    workdir: The folder.
    about: Command and configuration, as in its `config.json`.
    resume: Whether it may hold runs of this configuration already.
    made: Number of folders on its path that the caller has just made.

  Raises:
    ValueError: If the folder cannot be written to, if another command uses it,
      if it holds runs of another configuration, or runs of this one and
      `resume` is false.
  """
  workdir = epath.Path(workdir)
  remote = files.is_remote(workdir)
  if not remote:
    check_storable(workdir)
  new = [workdir, *workdir.parents][:made]
  before: set[str] = set()
  try:
    if not remote:
      new += _missing(workdir)
      before = set(os.listdir(workdir)) if workdir.is_dir() else before
    workdir.mkdir(parents=True, exist_ok=True)
    lock = contextlib.nullcontext() if remote else _open_lock(workdir)
  except (OSError, ImportError) as error:  # ImportError: a store's client
    _delete_empty(new)
    reason = getattr(error, 'strerror', None) or error
    raise ValueError(
      f'--workdir={workdir} cannot be written to: {reason}. Give a folder that '
      'can be.'
    ) from error
  with lock as file:
    if file is not None and not _lock(file):
      raise ValueError(
        f'Another command is using {workdir}. Wait for it, or give '
        'another --workdir.'
      )
    try:
      check_config(workdir, about, growing=_RUN_LISTS)
      if (workdir / 'config.json').exists() and not resume:
        raise ValueError(
          f'{workdir} holds runs of this configuration already. Give --resume '
          'to resume them, or another --workdir.'
        )
      yield
    except BaseException as error:
      kept = isinstance(error, Interrupted)
      with contextlib.suppress(OSError):  # the other error says more
        if not remote:
          _delete_unused(workdir, before, kept=kept)
          _delete_empty(new)
      raise


def _delete_unused(
  workdir: epath.Path, before: Collection[str], *, kept: bool
) -> None:
  """Deletes the files of a command that has begun no run.

  Args:
    workdir: Its work folder.
    before: Names of what was in the folder before.
    kept: Whether the configuration is kept, so that the command is resumed.
  """
  own = {'lock', 'config.json'}.difference(before)
  if set(os.listdir(workdir)).difference(before) <= own:
    for name in own - ({'config.json'} if kept else set()):
      (workdir / name).unlink(missing_ok=True)


def _missing(folder: epath.Path) -> list[epath.Path]:
  """Returns the folders on a path that do not exist, the innermost first."""
  folders = [folder, *folder.parents]
  return list(itertools.takewhile(lambda f: not os.path.lexists(f), folders))


def _delete_empty(folders: Iterable[epath.Path]) -> None:
  """Deletes folders as far as they are empty, the innermost first."""
  for folder in folders:
    try:
      os.rmdir(folder)
    except OSError:
      return


def _open_lock(workdir: epath.Path) -> BinaryIO:
  """Opens the lock file, unless it is a link, a device or a pipe."""
  path = workdir / 'lock'
  extra = getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_NONBLOCK', 0)
  descriptor = os.open(path, os.O_RDWR | os.O_CREAT | extra, 0o666)
  if not stat.S_ISREG(os.fstat(descriptor).st_mode):
    os.close(descriptor)
    raise OSError(errno.EEXIST, 'its lock is not a regular file')
  return os.fdopen(descriptor, 'r+b')


def _lock(file) -> bool:
  """Returns whether this process has locked a file, until it ends."""
  if fcntl is None:
    return True
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError:  # a file system without locks
    return True
  return True
