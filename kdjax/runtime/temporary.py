"""Temporary local files with new names, and what they may replace."""

import contextlib
import errno
import os
import pathlib
import secrets
import stat
from collections.abc import Iterator

_START = '.kdjax-tmp-'  # of the names of temporary files


@contextlib.contextmanager
def replacing(path: os.PathLike[str] | str) -> Iterator[pathlib.Path]:
  """Makes a temporary file, which replaces a local file at the end.

  Its name is new, so that no file of the user is overwritten and no link is
  followed.

  Args:
    path: The file; its folder is created.

  Yields:
    The temporary file, beside `path` and empty; deleted if an error is raised.

  Raises:
    OSError: If it cannot be made, or `path` is a folder, a device or a pipe.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  check_replaceable(path)
  temporary = new_file(path.parent)
  try:
    yield temporary
    temporary.replace(path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


def check_replaceable(path: os.PathLike[str] | str) -> None:
  """Checks that a local path is a regular file or does not exist.

  Args:
    path: The path.

  Raises:
    OSError: If it is a folder, a device or a pipe.
  """
  try:
    mode = os.stat(path).st_mode
  except FileNotFoundError:
    return
  if not stat.S_ISREG(mode):
    kind = 'folder' if stat.S_ISDIR(mode) else 'device or pipe'
    raise OSError(errno.EEXIST, f'is a {kind} and is kept', str(path))


def check_writable(folder: os.PathLike[str] | str) -> None:
  """Checks that files can be made in a local folder.

  Args:
    folder: The folder.

  Raises:
    OSError: If not.
  """
  new_file(pathlib.Path(folder)).unlink()


def delete_temporary_files(folder: os.PathLike[str] | str) -> None:
  """Deletes what a killed process left of `replacing`.

  Args:
    folder: A local folder that no other process writes to.
  """
  for path in pathlib.Path(folder).glob(f'{_START}*'):
    path.unlink(missing_ok=True)


def new_file(folder: pathlib.Path) -> pathlib.Path:
  """Makes an empty file of a new name, with the user's permissions.

  Args:
    folder: A local folder.

  Raises:
    OSError: If it cannot be made.
  """
  path = folder / f'{_START}{secrets.token_hex(8)}'
  flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, 'O_NOFOLLOW', 0)
  os.close(os.open(path, flags, 0o666))
  return path
