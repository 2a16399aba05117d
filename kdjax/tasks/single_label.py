"""Classification with one class per image."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.features import Features
from kdjax.tasks.base import embedding_samples
from kdjax.typing import Batch


@dataclasses.dataclass(frozen=True)
class SingleLabel:
  """One class per image: cross-entropy loss, top-1 accuracy.

  Attributes:
    top: Also evaluates top-k accuracy for this k, as `top5` for 5 (default:
      top-1 alone). Among equal logits the lower class counts first.
  """

  top: int | None = None

  score: ClassVar[str] = 'accuracy'

  def __post_init__(self):
    if self.top is not None and self.top < 1:
      raise ValueError(f'top must be at least 1, got {self.top}.')

  def loss(self, features: Features, batch: Batch) -> jax.Array:
    """Computes the cross-entropy with the labels, nats `[B]`."""
    return losses.cross_entropy(features.logits, batch['label'])

  def outputs(self, features: Features, batch: Batch) -> dict[str, jax.Array]:
    """Computes whether the top classes are right, and the loss, `[B]` each."""
    logits, label = features.logits, batch['label']
    outputs = {'accuracy': jnp.argmax(logits, axis=-1) == label}
    if self.top is not None:
      count = min(self.top, logits.shape[-1])
      largest = jax.lax.top_k(logits, count)[1]
      outputs[f'top{self.top}'] = (largest == label[..., None]).any(-1)
    return {**outputs, 'loss': self.loss(features, batch)}

  def samples(self, features: Features, batch: Batch) -> dict[str, jax.Array]:
    """Returns embeddings `[B, D]` and labels."""
    return embedding_samples(features, batch)

  def summarize(self, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Computes the mean of each output, and the number of right answers."""
    means = {
      name: float(values.astype(np.float64).mean())
      for name, values in outputs.items()
    }
    return {**means, 'correct': int(outputs['accuracy'].sum())}
