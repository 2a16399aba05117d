"""Where a command writes: a folder of its own."""

import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Iterator
from typing import Annotated

import jax
import tyro
from etils import epath

from kdjax.runtime import files
from kdjax.runtime.run_folder import check_config

try:
  import fcntl
except ImportError:  # Windows has none
  fcntl = None


# Lists of settings that say which runs there are. What each run is, its own
# folder says.
_MORE_RUNS = (
  'seeds',
  'methods',
  'changes',
  'sweep',
  'metrics',
  'weight_factors',
)


Folder = Annotated[
  epath.Path,
  tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar='FOLDER',
    instance_from_str=lambda texts: epath.Path(texts[0]),
    is_instance=lambda value: isinstance(value, epath.Path),
    str_from_instance=lambda folder: [str(folder)],
  ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
  """Where a command writes.

  Attributes:
    workdir: A folder for this comparison, local or of an object store
      (gs://BUCKET/FOLDER); a new one under `runs/` without.
    resume: Go on with what the work folder holds.
  """

  workdir: Folder | None = None
  resume: bool = False


def new_folder(name: str, title: str) -> epath.Path:
  """A folder that says what is in it, made here so that nobody else takes it.

  Only by the first of several processes; the others do not write.

  Args:
    name: The command's, as in `experiments.digits`.
    title: What it does this time.
  """
  now = datetime.datetime.now().strftime('%Y%m%d-%H%M%S')
  title = f'{name.rpartition(".")[2]}-{title}-{now}'
  for number in itertools.count(1):
    folder = epath.Path('runs') / f'{title}{f"-{number}" * (number > 1)}'
    try:
      if jax.process_index() == 0:
        folder.mkdir(parents=True)
      return folder
    except FileExistsError:  # of a command of the same second
      continue
    except OSError:
      return folder  # `hold` says what is wrong with it
  raise AssertionError('there are always more numbers')


@contextlib.contextmanager
def hold(
  workdir: epath.PathLike, about: dict, *, resume: bool
) -> Iterator[None]:
  """Makes a work folder and keeps it from others, however this command ends.

  From others on this machine: object stores have no locks.

  Args:
    workdir: The folder.
    about: What its `config.json` says, or will say.
    resume: Whether it may hold this comparison already.

  Raises:
    ValueError: If it cannot be written to, another command is at work in it,
      or it holds another comparison, or this one without `resume`.
  """
  workdir = epath.Path(workdir)
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    remote = files.is_remote(workdir)
    lock = contextlib.nullcontext() if remote else (workdir / 'lock').open('a')
  except (OSError, ImportError) as error:  # of what speaks to a store
    reason = getattr(error, 'strerror', None) or error
    raise ValueError(
      f'--workdir={workdir} cannot be written to: {reason}. Give a folder that '
      'can be.'
    ) from error
  with lock as file:
    if file is not None and not _locked(file):
      raise ValueError(
        f'Another command is at work in {workdir}. Wait for it, or give '
        'another --workdir.'
      )
    check_config(workdir, about, growing=_MORE_RUNS)
    if (workdir / 'config.json').exists() and not resume:
      raise ValueError(
        f'{workdir} holds this comparison already. Give --resume to go on with '
        'it, or another --workdir.'
      )
    yield


def _locked(file) -> bool:
  """Whether no other process holds a file; the kernel lets go of dead ones'."""
  if fcntl is None:
    return True
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError:  # a file system without locks
    return True
  return True
