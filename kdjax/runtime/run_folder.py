"""Folder of a run; only the first process reads and writes it."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from etils import epath

from kdjax.names import dataset_kind
from kdjax.runtime import files
from kdjax.runtime.checkpoints import (
  Checkpoints,
  on_host,
  save_variables,
  with_keys,
)
from kdjax.runtime.mesh import Devices
from kdjax.runtime.temporary import delete_temporary_files
from kdjax.typing import PyTree

# Not part of the configuration: images do not depend on the process that
# decodes them, nor results on the device. The path of a dataset is not part of
# it either: each run compares the fingerprint of the content.
_FREE = (
  'versions',
  'arguments',
  'defaults',
  'workers',
  'threads',
  'together',
  'data_dir',
)

# Written by a run after its `config.json`.
_OF_A_RUN = ('metrics.jsonl', 'checkpoints', 'student')


class RunFolder:
  """The folder of a run that is being trained; a context manager.

  The state is equal in every process, so one of them writes it, and what it
  reads is sent to the others: they need not see the folder.

  Args:
    folder: Folder of the run.
    about: Content of its `config.json`.
    devices: Devices of the run.

  Raises:
    ValueError: If the folder holds a run of another configuration.
  """

  def __init__(
    self, folder: epath.PathLike, about: Mapping[str, Any], devices: Devices
  ):
    self.folder = epath.Path(folder)
    self._devices = devices
    self._checkpoints: Checkpoints | None = None
    self._writer: files.MetricsWriter | None = None
    self._saved_step = -1
    if devices.is_main:
      check_config(folder, about)
      if not files.is_remote(self.folder):
        delete_temporary_files(self.folder)
      files.write_json(self.folder / 'config.json', about)
      self._checkpoints = Checkpoints(self.folder / 'checkpoints')

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *error: object) -> None:
    """Waits for pending writes and ends the threads of the writers."""
    if self._checkpoints is not None:
      self._checkpoints.close()

  def restore(
    self, carry: PyTree, checkpoint_every: int, warn: Callable[[str], None]
  ) -> PyTree | None:
    """Returns the newest readable checkpoint; `None` if none was made yet.

    Cuts the log back to it.

    Args:
      carry: A tree of the structure and shapes that are expected.
      checkpoint_every: Epochs between checkpoints.
      warn: Called with a message for each checkpoint that cannot be read, and
        for unreadable lines of the log.

    Raises:
      ValueError: If a checkpoint is of another network or method, or if the
        log shows that there was one and none can be read.
    """
    like = on_host(carry)

    def read() -> PyTree | None:
      if self._checkpoints is None:
        return None
      return self._checkpoints.restore_latest(like, warn)

    stored = self._devices.read(read, like)
    restored = None
    if stored is not None:
      restored = self._devices.replicate(with_keys(stored, carry))
    # Lines of step 0 are written before the first step: without a checkpoint
    # none may stay.
    step = -1 if restored is None else int(restored.state.step)
    self._open_log(step, checkpoint_every, warn)
    return restored

  def write(self, **line: Any) -> None:
    """Adds a line to `metrics.jsonl`."""
    if self._writer is not None:
      self._writer.write(**line)

  def save(self, step: int, carry: PyTree) -> None:
    """Saves a checkpoint to resume from; returns before it is on disk."""
    if self._checkpoints is not None and step != self._saved_step:
      self._checkpoints.save(step, carry)
      self._saved_step = step

  def save_best(self, step: int, variables: PyTree) -> None:
    """Saves the variables of the best score so far."""
    if self._checkpoints is not None:
      self._checkpoints.save_best(step, variables)

  def wait(self) -> None:
    """Waits until everything is on disk.

    Raises:
      OSError: If something could not be written.
    """
    if self._checkpoints is not None:
      self._checkpoints.wait()

  def finish(
    self,
    networks: Mapping[str, PyTree],
    samples: Mapping[str, np.ndarray],
    **end: Any,
  ) -> None:
    """Writes the final files of a run; the line of kind `end` comes last.

    Args:
      networks: Variables by the name of their folder.
      samples: Arrays of `features.npz`.
      **end: Content of the last line of the log.
    """
    if self._checkpoints is None:
      return
    files.write_arrays(self.folder / 'features.npz', samples)
    for name, variables in networks.items():
      save_variables(self.folder / name, variables)
    self._checkpoints.wait()
    self.write(kind='end', **end)

  def _open_log(
    self, step: int, checkpoint_every: int, warn: Callable[[str], None]
  ) -> None:
    """Opens the log for the steps after `step`."""
    if self._checkpoints is None:
      return
    path, unreadable = self.folder / 'metrics.jsonl', []
    lines = files.read_lines(path, unreadable.append)
    if unreadable:
      numbers = ', '.join(map(str, unreadable))
      warn(f'{path}: unreadable lines are left out: {numbers}.')
    epochs = [
      line.get('epoch', 0) for line in lines if line.get('kind') == 'train'
    ]
    # A teacher that is trained again may have the logs of a cached one.
    ended = any(line.get('kind') == 'end' for line in lines)
    if step < 0 and not ended and max(epochs, default=0) > checkpoint_every:
      raise ValueError(
        f'{self.folder} has been trained for {max(epochs)} epochs, but none of '
        'its checkpoints can be read. Restore them, or delete that folder to '
        'train the run again from the start.'
      )
    if step < 0 and epochs and not ended:
      warn(f'{self.folder} has no checkpoint yet and starts again.')
    self._writer = files.MetricsWriter(path, step)


def has_ended(folder: epath.PathLike, about: Mapping[str, Any]) -> bool:
  """Returns whether the run of a folder has been trained to its end.

  Args:
    folder: Folder of the run.
    about: Expected content of its `config.json`.

  Raises:
    ValueError: If the folder holds a run of another configuration.
  """
  check_config(folder, about)
  return bool(_lines_of_kind(folder, 'end'))


def diverged_at(folder: epath.PathLike) -> int | None:
  """Returns the step at which the run of a folder diverged, if it did."""
  lines = _lines_of_kind(folder, 'diverged')
  return lines[-1].get('step', 0) if lines else None


def _lines_of_kind(folder: epath.PathLike, kind: str) -> list[dict[str, Any]]:
  lines = files.read_lines(epath.Path(folder) / 'metrics.jsonl')
  return [line for line in lines if line.get('kind') == kind]


def steps_done(folder: epath.PathLike) -> int:
  """Returns the step of the newest checkpoint of a run, 0 without one."""
  latest = epath.Path(folder) / 'checkpoints' / 'latest'
  if not latest.is_dir():
    return 0
  steps = [int(path.name) for path in latest.iterdir() if path.name.isdigit()]
  return max(steps, default=0)


def check_config(
  folder: epath.PathLike, about: Mapping[str, Any], growing: Sequence[str] = ()
) -> None:
  """Checks that a folder is empty or of this configuration.

  Args:
    folder: With a `config.json`, or empty.
    about: Expected content of that file.
    growing: Names of lists to which something may have been added.

  Raises:
    ValueError: If it is of another configuration; the message lists what
      differs.
  """
  path = epath.Path(folder) / 'config.json'
  if not path.exists():
    others = [name for name in _OF_A_RUN if (path.parent / name).exists()]
    if others:
      raise ValueError(
        f'{folder} has no config.json, but {", ".join(others)}. Restore it, or '
        'move the folder away.'
      )
    return
  stored = files.read_json(path)
  wanted = json.loads(json.dumps(files.to_json(about)))
  lines = list(_differences(stored, wanted, '', growing))
  if lines:
    raise ValueError(
      f'{folder} holds a run of another configuration:\n'
      + '\n'.join(f'  {line}' for line in lines)
      + '\nGive another --workdir, or the same settings as before.'
    )


def _differences(
  stored: Any, wanted: Any, prefix: str, growing: Sequence[str]
) -> Any:
  """Yields a line for each setting that differs."""
  if not (isinstance(stored, dict) and isinstance(wanted, dict)):
    if prefix.endswith('.dataset') and _same_kind(stored, wanted):
      return
    if prefix.rpartition('.')[2] in growing and _contains(wanted, stored):
      return
    if stored != wanted:
      yield f'{prefix[1:]}: was {stored!r}, now {wanted!r}'
    return
  for name in dict.fromkeys([*stored, *wanted]):
    if name in _FREE:
      continue
    yield from _differences(
      stored.get(name), wanted.get(name), f'{prefix}.{name}', growing
    )


def _same_kind(stored: Any, wanted: Any) -> bool:
  """Returns whether two names of datasets differ at most in their paths."""
  return (
    isinstance(stored, str)
    and isinstance(wanted, str)
    and dataset_kind(stored) == dataset_kind(wanted)
  )


def _contains(many: Any, few: Any) -> bool:
  return (
    isinstance(many, list)
    and isinstance(few, list)
    and all(one in many for one in few)
  )
