"""What a run leaves in its folder; only the first process touches the disk."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from kdjax.runtime import files
from kdjax.runtime.checkpoints import (
  Checkpoints,
  on_host,
  save_variables,
  with_keys,
)
from kdjax.runtime.mesh import Devices
from kdjax.typing import PyTree

# What is no part of the configuration: who decodes images changes none of them,
# and a run computes the same beside others.
_FREE = ('versions', 'arguments', 'workers', 'threads', 'together')


class Record:
  """The folder of a run that is being trained.

  The state is the same in every process, so one of them writes it, and what it
  reads is sent to the others: they need not see the folder.

  Args:
    folder: Of the run.
    about: What its `config.json` says.
    devices: Who writes, and where a state that is read is placed.

  Raises:
    ValueError: If the folder holds a run of another configuration.
  """

  def __init__(
    self, folder: epath.PathLike, about: dict[str, Any], devices: Devices
  ):
    self.folder = epath.Path(folder)
    self.best = -math.inf
    self._devices = devices
    self._checkpoints: Checkpoints | None = None
    self._writer: files.MetricsWriter | None = None
    self._saved_step = -1
    if devices.is_main:
      check_config(folder, about)
      files.write_json(self.folder / 'config.json', about)
      self._checkpoints = Checkpoints(self.folder / 'checkpoints')

  def resume(
    self, carry: PyTree, score: str, warn: Callable[[str], None]
  ) -> tuple[int, PyTree]:
    """The newest step and state that can be read, or 0 and `carry`.

    Args:
      carry: The state before the first step.
      score: By which the best checkpoint is chosen.
      warn: Told of checkpoints that cannot be read.

    Raises:
      ValueError: If a checkpoint is of another network or method.
    """
    like = on_host(carry)

    def restore():
      if self._checkpoints is not None:
        return self._checkpoints.restore_latest(like, warn)

    found = self._devices.read(restore, like)
    if found is not None:
      carry = self._devices.replicate(with_keys(found, carry))
    step = int(carry[0].step)
    if self._checkpoints is not None:
      path = self.folder / 'metrics.jsonl'
      # Before the first step lines are written too, those of step 0: without a
      # checkpoint to go on from, none may stay.
      kept = step if found is not None else -1
      self._writer = files.MetricsWriter(path, kept)
      for line in files.read_lines(path):
        if line['kind'] == 'eval':
          self.best = max(self.best, line[score])
    return step, carry

  def write(self, **line: Any) -> None:
    """One line of `metrics.jsonl`."""
    if self._writer is not None:
      self._writer.write(**line)

  def save(self, step: int, carry: PyTree) -> None:
    """A checkpoint to go on from; returns before it is on disk."""
    if self._checkpoints is not None and step != self._saved_step:
      self._checkpoints.save(step, carry)
      self._saved_step = step

  def save_if_best(self, step: int, score: float, variables: PyTree) -> None:
    """Keeps `variables` if no score before was as high."""
    if self._checkpoints is not None and score > self.best:
      self.best = score
      self._checkpoints.save_best(step, variables)

  def wait(self) -> None:
    """Until everything is on disk; raises what went wrong while writing."""
    if self._checkpoints is not None:
      self._checkpoints.wait()

  def finish(
    self,
    students: dict[str, PyTree],
    features: dict[str, np.ndarray],
    **end: Any,
  ) -> None:
    """What a run leaves at its end; the line that says so comes last."""
    if self._checkpoints is None:
      return
    files.write_arrays(self.folder / 'features.npz', features)
    for name, variables in students.items():
      save_variables(self.folder / name, variables)
    self._checkpoints.wait()
    self.write(kind='end', **end)

  def close(self) -> None:
    """Waits for what is being written and lets go of files and threads."""
    if self._checkpoints is not None:
      self._checkpoints.close()


def check_config(
  folder: epath.PathLike, about: dict[str, Any], growing: Sequence[str] = ()
) -> None:
  """Raises a `ValueError` if the folder is of another configuration.

  Args:
    folder: With a `config.json`, or empty.
    about: What that should say.
    growing: Names of lists to which something may have been added.
  """
  path = epath.Path(folder) / 'config.json'
  if not path.exists():
    return
  try:
    stored = json.loads(path.read_text())
  except json.JSONDecodeError as error:
    raise ValueError(f'{path} is not readable JSON: {error}.') from error
  wanted = json.loads(json.dumps(files.to_json(about)))
  lines = list(_differences(stored, wanted, '', growing))
  if lines:
    raise ValueError(
      f'{folder} holds a run of another configuration:\n'
      + '\n'.join(f'  {line}' for line in lines)
      + '\nGive another --workdir, or the same settings as before.'
    )


def _differences(stored, wanted, prefix, growing):
  if not (isinstance(stored, dict) and isinstance(wanted, dict)):
    if prefix.rpartition('.')[2] in growing and _holds(wanted, stored):
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


def _holds(many, few) -> bool:
  return (
    isinstance(many, list)
    and isinstance(few, list)
    and all(one in many for one in few)
  )
