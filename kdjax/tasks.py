"""What a student is trained for: its supervised loss and how it is judged."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses, metrics

Batch = Mapping[str, jax.Array]


class Task(Protocol):
  """Supervised loss, predictions and scores of one kind of labels."""

  # The score by which the best checkpoint is chosen; larger is better.
  score: ClassVar[str]

  def loss(self, logits: jax.Array, batch: Batch) -> jax.Array:
    """Float32 `[B]`: the supervised loss of each example."""
    ...

  def outputs(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
    """What evaluation keeps of each example; every entry is `[B, …]`.

    Training logs the means of those that are one number per example, `[B]`.
    """
    ...

  def summarize(self, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Scores over a whole set from its outputs, `[N, …]` each."""
    ...


@dataclasses.dataclass(frozen=True)
class SingleLabel:
  """One class per image: cross-entropy, judged by top-1 accuracy.

  Attributes:
    top: Also the share of images whose class is among that many with the
      largest logits, as `top5` for 5; of equal logits the first ones.
  """

  top: int | None = None

  score: ClassVar[str] = 'accuracy'

  def __post_init__(self):
    if self.top is not None and self.top < 1:
      raise ValueError(f'top must be at least 1, got {self.top}.')

  def loss(self, logits: jax.Array, batch: Batch) -> jax.Array:
    """Cross-entropy with the label, nats `[B]`."""
    return losses.cross_entropy(logits, batch['label'])

  def outputs(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
    """Whether the largest logit is the label's, and the loss."""
    label = batch['label']
    found = {'accuracy': jnp.argmax(logits, axis=-1) == label}
    if self.top is not None:
      count = min(self.top, logits.shape[-1])
      largest = jax.lax.top_k(logits, count)[1]
      found[f'top{self.top}'] = (largest == label[..., None]).any(-1)
    return {**found, 'loss': self.loss(logits, batch)}

  def summarize(self, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The mean of each output, and the exact number of right answers."""
    means = {
      name: float(values.astype(np.float64).mean())
      for name, values in outputs.items()
    }
    return {**means, 'correct': int(outputs['accuracy'].sum())}


@dataclasses.dataclass(frozen=True)
class MultiLabel:
  """Any number of classes per image, judged by mean average precision.

  Labels are `[B, K]`: 1, 0, and below 0 where a class is not judged.

  Attributes:
    envelope: Whether precision is made monotone first, as PASCAL VOC does;
      otherwise it is not interpolated, as the field does on COCO.
  """

  envelope: bool = False

  score: ClassVar[str] = 'mAP'

  def loss(self, logits: jax.Array, batch: Batch) -> jax.Array:
    """Binary cross-entropy, the mean over classes, nats `[B]`."""
    return losses.sigmoid_cross_entropy(logits, batch['label'])

  def outputs(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
    """Logits and labels, for scores over the whole set, and the loss."""
    return {
      'logits': logits.astype(jnp.float32),
      'labels': batch['label'],
      'loss': self.loss(logits, batch),
    }

  def summarize(self, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """mAP, and precision, recall and F1 at a probability of a half.

    Average precision takes the logits, because probabilities near 1 round to
    the same float32.
    """
    logits, labels = outputs['logits'], outputs['labels']
    measure = metrics.average_precision
    if self.envelope:
      measure = metrics.voc_average_precision
    return {
      self.score: metrics.mean_over_classes(measure(logits, labels)),
      **metrics.precision_and_recall(logits, labels, 0.0),
      'loss': float(outputs['loss'].astype(np.float64).mean()),
    }
