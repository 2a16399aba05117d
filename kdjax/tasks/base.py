"""The contract of a task: supervised loss, kept outputs and scores."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import jax
import numpy as np

from kdjax.typing import Batch


class Task(Protocol):
  """Supervised loss and evaluation for one kind of labels.

  `features` is whatever `FeatureTree` the networks of the task return, with
  the predictions of the student in `features.outputs`.
  """

  # The score by which the best checkpoint is chosen; larger is better.
  score: ClassVar[str]

  def loss(self, features: Any, batch: Batch) -> jax.Array:
    """Computes the supervised loss of each example, float32 `[B]`."""
    ...

  def outputs(self, features: Any, batch: Batch) -> dict[str, jax.Array]:
    """Computes the results of an evaluation per example, arrays `[B, …]`.

    Training logs the means of those that are one number per example, `[B]`.
    """
    ...

  def samples(self, features: Any, batch: Batch) -> dict[str, jax.Array]:
    """Computes the arrays of `features.npz`, `[B, …]`.

    The report draws them; empty for tasks that have nothing to draw.
    """
    ...

  def summarize(self, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Computes scores over all examples from their outputs, `[N, …]` each."""
    ...


def embedding_samples(features: Any, batch: Batch) -> dict[str, jax.Array]:
  """Returns embeddings `[B, D]` in float32, and labels."""
  # NumPy files cannot hold bfloat16.
  embedding = features.embedding.astype('float32')
  return {'embedding': embedding, 'labels': batch['label']}
