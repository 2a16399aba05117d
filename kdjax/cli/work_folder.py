"""Work folder of a command: its name, its lock and its configuration."""

import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Iterator

import jax
from etils import epath

from kdjax.cli.flag_types import Folder
from kdjax.runtime import files
from kdjax.runtime.run_folder import check_config

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkFolder:
  """Work folder of a command.

  Attributes:
    workdir: Work folder, local or in an object store, gs://BUCKET/FOLDER
      (default: a new folder under runs/).
    resume: Resume the runs that the work folder holds.
  """

  workdir: Folder | None = None
  resume: bool = False


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
    folder = epath.Path('runs') / f'{title}{f"-{number}" * (number > 1)}'
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
  workdir: epath.PathLike, about: dict, *, resume: bool
) -> Iterator[None]:
  """Makes a work folder and locks it against other commands.

  The lock ends with the process. It holds on this machine only, and object
  stores have none.

  Args:
    workdir: The folder.
    about: Command and configuration, as in its `config.json`.
    resume: Whether it may hold runs of this configuration already.

  Raises:
    ValueError: If the folder cannot be written to, if another command uses it,
      if it holds runs of another configuration, or runs of this one and
      `resume` is false.
  """
  workdir = epath.Path(workdir)
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    remote = files.is_remote(workdir)
    lock = contextlib.nullcontext() if remote else (workdir / 'lock').open('a')
  except (OSError, ImportError) as error:  # ImportError: a store's client
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
    check_config(workdir, about, growing=_RUN_LISTS)
    if (workdir / 'config.json').exists() and not resume:
      raise ValueError(
        f'{workdir} holds runs of this configuration already. Give --resume to '
        'resume them, or another --workdir.'
      )
    yield


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
