"""Classification with any number of classes per image."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses, metrics
from kdjax.features import Features
from kdjax.tasks.base import embedding_samples
from kdjax.typing import Batch


@dataclasses.dataclass(frozen=True)
class MultiLabel:
  """Any number of classes per image, evaluated by mean average precision.

  Labels are `[B, K]`: 1, 0, and negative where a class is not evaluated.

  Attributes:
    envelope: Whether precision is made monotone first, as PASCAL VOC does;
      otherwise it is not interpolated, as is usual on COCO.
  """

  envelope: bool = False

  score: ClassVar[str] = 'mAP'

  def loss(self, features: Features, batch: Batch) -> jax.Array:
    """Computes the binary cross-entropy, mean over classes, nats `[B]`."""
    return losses.sigmoid_cross_entropy(features.logits, batch['label'])

  def outputs(self, features: Features, batch: Batch) -> dict[str, jax.Array]:
    """Returns logits and labels `[B, K]`, and the loss `[B]`."""
    return {
      'logits': features.logits.astype(jnp.float32),
      'labels': batch['label'],
      'loss': self.loss(features, batch),
    }

  def samples(self, features: Features, batch: Batch) -> dict[str, jax.Array]:
    """Returns embeddings `[B, D]` and labels."""
    return embedding_samples(features, batch)

  def summarize(self, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Computes mAP, and precision, recall and F1 at a probability of 0.5.

    Average precision takes the logits, because probabilities near 1 round to
    the same float32. `positives` counts the labels that are 1, and
    `classes_evaluated` the classes that have one, over which mAP is the mean.

    Raises:
      ValueError: If there is no positive label.
    """
    logits, labels = outputs['logits'], outputs['labels']
    positives = (labels > 0).sum(0)
    if not positives.any():
      raise ValueError(
        f'{len(labels):,} images are evaluated, but they have 0 positive '
        f'labels of {labels.shape[1]:,} classes, so that mAP is not defined.'
      )
    measure = metrics.average_precision
    if self.envelope:
      measure = metrics.voc_average_precision
    return {
      self.score: metrics.mean_over_classes(measure(logits, labels)),
      **metrics.precision_and_recall(logits, labels, 0.0),
      'loss': float(outputs['loss'].astype(np.float64).mean()),
      'positives': int(positives.sum()),
      'classes_evaluated': int((positives > 0).sum()),
    }
