"""Passes over sets that are read while they are passed over."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data import StreamedSplit
from kdjax.train.evaluate import Evaluation, Passes, state_variables
from kdjax.train.state import TrainState
from kdjax.typing import PyTree


class StreamedPasses(Passes):
  """`Passes` over streamed sets: a dispatch per batch.

  Images that do not decode are in no result.
  """

  def _compile(self) -> None:
    """Makes the functions that depend on where the images lie."""
    self._judge = jax.jit(self._judge_all)
    self._look = jax.jit(self.look)

  def evaluate(
    self,
    state: TrainState,
    teacher_variables: PyTree,
    data: StreamedSplit,
    *,
    first: int | None = None,
  ) -> Evaluation:
    """Outputs, embeddings and labels of a set's images, or of the first.

    Images that do not decode are missing in them, or stop the run.
    """
    variables = state_variables(state, teacher_variables)
    parts = []
    stream = data.in_order(self.batch_size, count=first, rows=self._rows)
    with contextlib.closing(stream):
      for share in stream:
        batch = self.devices.spread(share, self.batch_size)
        # Fetched at once: a set need not fit beside the networks.
        found, decoded = jax.device_get(self._judge(variables, batch))
        parts.append(_rows_of(found, decoded))
    count = sum(len(labels) for *_, labels in parts)
    if not count:
      raise ValueError(f'none of {len(data)} images can be decoded.')
    return Evaluation(*_joined(parts))

  def look_at(self, variables, data, count: int) -> PyTree:
    """What the method sees in the first images, one batch of them at most."""
    size = min(count, self.batch_size)
    with contextlib.closing(data.in_order(size, count=size)) as stream:
      batch = next(stream)
    batch = _rows_of(batch, batch['decoded'])
    return self._look(variables, self.devices.replicate(batch))

  def _judge_all(self, variables, batch):
    """What an evaluation keeps of a batch, and which of its rows count."""
    kept = self.devices.gather((batch['label'], batch['decoded']))
    outputs, embedding = self.judge(variables, without_counts(batch)[0])
    return (outputs, embedding, kept[0]), kept[1]

  @property
  def _rows(self) -> np.ndarray:
    """Of each batch, what this process decodes."""
    return self.devices.rows(self.batch_size)

  def _walk(self, data: StreamedSplit) -> Iterator[PyTree]:
    """A set once, in order, on the devices."""
    stream = data.in_order(self.batch_size, rows=self._rows)
    with contextlib.closing(stream):
      for share in stream:
        yield self.devices.spread(share, self.batch_size)

  def _that_count(self, features, batch):
    """Of a walk's batch the rows that are images of the set."""
    kept = without_counts(batch)[0]
    return _rows_of((features, kept), np.asarray(batch['decoded']))


def without_counts(batch: PyTree) -> tuple[PyTree, jax.Array]:
  """A batch as every step takes it, and how many images it left out."""
  counts = ('decoded', 'skipped')
  kept = {name: rows for name, rows in batch.items() if name not in counts}
  return kept, batch['skipped'].sum(dtype=jnp.int32)


def _joined(parts: list[PyTree]) -> PyTree:
  """Batches of host arrays one behind the other."""
  return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _rows_of(tree: PyTree, chosen: np.ndarray) -> PyTree:
  """The chosen rows of each array."""
  return tree if chosen.all() else jax.tree.map(lambda a: a[chosen], tree)
