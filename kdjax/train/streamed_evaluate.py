"""Evaluation, observations and teacher passes over streamed splits."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data import StreamedSplit
from kdjax.methods.base import Read
from kdjax.runtime.mesh import Devices
from kdjax.train.evaluate import (
  SAMPLES,
  Evaluation,
  evaluate_batch,
  evaluated,
  finite_lines,
  observe_batch,
  teacher_batch,
)
from kdjax.train.parts import Parts
from kdjax.train.state import Frozen, TrainState
from kdjax.typing import Batch, PyTree


class StreamedEvaluator:
  """`Evaluator` of streamed splits: one dispatch per batch.

  Images that do not decode are in no result.

  Args:
    parts: Parts of the step.
    devices: Devices that share each batch.
    batch_size: Examples per batch.
  """

  def __init__(self, parts: Parts, devices: Devices, batch_size: int):
    self._parts = parts
    self._devices = devices
    self._batch_size = batch_size
    self._evaluate = devices.jit(self._evaluate_batch)
    self._observe = devices.jit(
      functools.partial(observe_batch, parts=parts, devices=devices)
    )

  def evaluate(
    self,
    state: TrainState,
    frozen: Frozen,
    data: StreamedSplit,
    *,
    first: int | None = None,
  ) -> Evaluation:
    """Evaluates the student; see `Evaluator`.

    Raises:
      ValueError: If no image can be decoded, or one cannot and none may be
        skipped.
    """
    student = evaluated(state)
    parts = []
    stream = data.in_order(self._batch_size, count=first, rows=self._rows)
    with contextlib.closing(stream):
      for rows in stream:
        batch = self._devices.shard_batch(rows, self._batch_size)
        # Copied to the host immediately: all results may not fit the devices.
        kept, decoded = jax.device_get(self._evaluate(student, frozen, batch))
        parts.append(_select(kept, decoded))
    if not any(len(leaf) for leaf in jax.tree.leaves(parts)):
      raise ValueError(f'none of {len(data)} images can be decoded.')
    return Evaluation(
      *jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    )

  def observe(
    self, state: TrainState, frozen: Frozen, data: StreamedSplit
  ) -> dict[str, dict[str, float]]:
    """Returns the method's log lines of at most one batch; see `Evaluator`."""
    if self._parts.teacher is None or not self._parts.method.observes:
      return {}
    size = min(len(data), SAMPLES, self._batch_size)
    with contextlib.closing(data.in_order(size, count=size)) as stream:
      batch = next(stream)
    batch = _select(batch, batch['decoded'])
    batch, _ = without_counts(batch)
    batch = self._devices.replicate(batch)
    return finite_lines(self._observe(evaluated(state), frozen, batch))

  def walk(
    self,
    teacher_variables: PyTree,
    data: StreamedSplit,
    read: Read,
    check: Callable[[], None],
  ) -> Iterator[PyTree]:
    """Runs the teacher over a split; see `Evaluator`."""

    def run(variables: PyTree, batch: Batch) -> tuple[PyTree, jax.Array]:
      decoded = self._devices.gather(batch['decoded'])
      result = teacher_batch(
        variables,
        without_counts(batch)[0],
        read=read,
        parts=self._parts,
        devices=self._devices,
      )
      return result, decoded

    compiled = self._devices.jit(run)
    stream = data.in_order(self._batch_size, rows=self._rows)
    with contextlib.closing(stream):
      for rows in stream:
        check()
        batch = self._devices.shard_batch(rows, self._batch_size)
        result = self._devices.awaited(compiled(teacher_variables, batch))
        yield _select(*jax.device_get(self._devices.local(result)))

  def _evaluate_batch(
    self, student: Any, frozen: Frozen, batch: Batch
  ) -> tuple[PyTree, jax.Array]:
    """Computes results per example, and which are decoded; inside jit."""
    decoded = self._devices.gather(batch['decoded'])
    batch, _ = without_counts(batch)
    kept = evaluate_batch(
      student, frozen, batch, parts=self._parts, devices=self._devices
    )
    return kept, decoded

  @property
  def _rows(self) -> np.ndarray:
    """Rows of each batch that this process decodes."""
    return self._devices.rows(self._batch_size)


def without_counts(batch: PyTree) -> tuple[PyTree, jax.Array]:
  """Returns a batch without its counts, and the number of skipped images."""
  counts = ('decoded', 'skipped')
  kept = {name: rows for name, rows in batch.items() if name not in counts}
  return kept, jnp.sum(batch['skipped'], dtype=jnp.int32)


def _select(tree: PyTree, rows: np.ndarray) -> PyTree:
  """Returns some rows of each array."""
  return tree if rows.all() else jax.tree.map(lambda a: a[rows], tree)
