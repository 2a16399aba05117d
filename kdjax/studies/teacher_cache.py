"""Teachers in the user's cache, which later commands reuse."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Literal

from etils import epath

from kdjax.messages import first_line
from kdjax.names import dataset_kind
from kdjax.runtime import files
from kdjax.runtime.cache import cache_folder
from kdjax.studies.setup import short_hash

_LOGS = ('metrics.jsonl', 'features.npz')
_HASHES = 'hashes.json'


class CachedTeacher:
  """Files of one teacher in the cache.

  Args:
    kind: `teachers`, which have their weights, or `scores`, of teachers whose
      weights were given.
    about: Settings on which the teacher depends.
    say: Called with messages for the user.

  Attributes:
    name: Hash of `about`.
    folder: Folder in the cache, which may not exist.
  """

  def __init__(
    self,
    kind: Literal['teachers', 'scores'],
    about: Mapping[str, Any],
    say: Callable[[str], None],
  ):
    # Wherever its dataset is stored: its fingerprint is part of `about`.
    about = {**about, 'dataset': dataset_kind(about['dataset'])}
    self.name = short_hash(json.dumps(about, sort_keys=True).encode())
    self.folder = cache_folder() / kind / self.name
    self._has_weights = kind == 'teachers'
    self._say = say

  @property
  def weights(self) -> pathlib.Path:
    """The folder of its weights."""
    return self.folder / 'student'

  def is_complete(self) -> bool:
    """Returns whether it exists; deletes it, with a message, if damaged."""
    if not os.path.lexists(self.folder):
      return False
    reason = self._damage()
    if reason:
      self.discard(reason)
    return not reason

  def discard(self, reason: str) -> None:
    """Deletes a damaged teacher.

    Args:
      reason: Description of the damage, for the user.
    """
    again = 'trained' if self._has_weights else 'evaluated'
    self._say(
      f'The teacher is {again} again, as its copy in the cache, {self.folder}, '
      f'is damaged: {reason}'
    )
    with contextlib.suppress(OSError):  # the cache may be read-only
      if self.folder.is_dir() and not self.folder.is_symlink():
        shutil.rmtree(self.folder)
      else:
        self.folder.unlink()

  def copy_logs(self, folder: epath.Path, about: Mapping[str, Any]) -> None:
    """Copies its logs, not its weights, into a run folder.

    Args:
      folder: The run folder.
      about: Content of `config.json` there.
    """
    files.write_json(folder / 'config.json', about)
    for name in _LOGS:
      epath.Path(self.folder / name).copy(folder / name, overwrite=True)

  def publish(self, folder: epath.Path) -> None:
    """Copies a teacher from its run folder, completely or not at all.

    Args:
      folder: The run folder.
    """
    if self.folder.is_dir():
      return
    temporary = self.folder.with_name(f'{self.name}.{os.getpid()}.tmp')
    try:
      temporary.mkdir(parents=True)
      for name in ('config.json', *_LOGS):
        (folder / name).copy(temporary / name)
      if self._has_weights:
        _copy_folder(folder / 'student', temporary / 'student')
      files.write_json(temporary / _HASHES, _hashes(temporary))
      temporary.replace(self.folder)
    except OSError as error:
      shutil.rmtree(temporary, ignore_errors=True)
      if not self.folder.is_dir():  # else another command was faster
        self._say(
          'The teacher cannot be kept for later commands in '
          f'{self.folder}: {error}'
        )

  def _damage(self) -> str:
    """Returns the damage of the files as text; empty if there is none.

    Weights have hashes of their own, which are checked when they are read.
    """
    if not self.folder.is_dir():
      return 'it is not a folder.'
    if self._has_weights and not self.weights.is_dir():
      return 'its weights are missing.'
    if not all((self.folder / name).is_file() for name in (*_LOGS, _HASHES)):
      return 'some of its files are missing.'
    try:
      damaged = files.read_json(self.folder / _HASHES) != _hashes(self.folder)
    except (OSError, ValueError) as error:
      return f'{first_line(error)}'
    return 'its logs are damaged.' if damaged else ''


def _hashes(folder: pathlib.Path) -> dict[str, str]:
  return {
    name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
    for name in _LOGS
  }


def _copy_folder(source: epath.Path, target: pathlib.Path) -> None:
  """Copies a folder, possibly from an object store, with its content."""
  target.mkdir(parents=True)
  for path in source.iterdir():
    if path.is_dir():
      _copy_folder(path, target / path.name)
    else:
      path.copy(target / path.name)
