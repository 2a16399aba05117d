"""Metrics of multi-label recognition, in NumPy and float64.

Labels are `[N, K]` for N images and K classes: 1 for a positive image, 0 for a
negative one, and below 0 for an image that is ignored for that class, such as
one with objects marked difficult only. Only the order of the scores matters, so
logits serve as well as probabilities; they have fewer ties.
"""

from collections.abc import Callable

import numpy as np


def average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
  r"""Computes the average precision of each class, without interpolation.

  Let :math:`P_i` and :math:`R_i` be precision and recall at the :math:`i`-th
  threshold, with the distinct scores of a class as thresholds in descending
  order and :math:`R_0 = 0`. Then

  .. math:: \mathrm{AP} = \sum_i (R_i - R_{i-1}) \, P_i .

  Images with equal scores share a threshold, so the result does not depend on
  the order of the images.

  Args:
    scores: Float `[N, K]`, higher for more likely classes.
    labels: `[N, K]`, see the module's description.

  Returns:
    Float64 `[K]` in [0, 1]; NaN for a class without a positive image.

  Raises:
    ValueError: If the shapes differ or a score is not finite.

  Example:
    >>> scores = np.array([[0.9], [0.8], [0.7], [0.6]])
    >>> labels = np.array([[1], [0], [1], [1]])
    >>> average_precision(scores, labels).round(4)  # (1 + 2/3 + 3/4) / 3
    array([0.8056])
  """
  return _by_class(scores, labels, lambda precision: precision)


def voc_average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
  r"""Computes the average precision of PASCAL VOC since 2010, of each class.

  As `average_precision`, but with each :math:`P_i` replaced by the largest
  precision at that recall or a higher one, :math:`\max_{j \ge i} P_j`: the area
  under the monotone envelope of the precision-recall curve. (VOC 2007 averaged
  it at eleven values of recall.)

  Args:
    scores: Float `[N, K]`, higher for more likely classes.
    labels: `[N, K]`, see the module's description.

  Returns:
    Float64 `[K]` in [0, 1]; NaN for a class without a positive image.

  Raises:
    ValueError: If the shapes differ or a score is not finite.
  """
  return _by_class(
    scores,
    labels,
    lambda precision: np.maximum.accumulate(precision[::-1])[::-1],
  )


def precision_and_recall(
  scores: np.ndarray, labels: np.ndarray, threshold: float
) -> dict[str, float]:
  r"""Computes precision, recall and F1 at a threshold.

  Per class (`CP`, `CR`, `CF1`): `CP` and `CR` are means over the classes that
  have a positive image. Overall (`OP`, `OR`, `OF1`): over all pairs of image
  and class. Both F1 are :math:`2 P R / (P + R)` of the corresponding precision
  and recall, as in the literature; `CF1` is not a mean over classes. A class
  that is never predicted has precision 0; a ratio with denominator 0 is 0.

  Args:
    scores: Float `[N, K]`; a class is predicted at or above the threshold.
    labels: `[N, K]`, see the module's description; ignored images count for
      none of the metrics.
    threshold: 0.5 for probabilities, 0 for logits.

  Returns:
    The six metrics by name, each in [0, 1].

  Raises:
    ValueError: If the shapes differ or a score is not finite.

  Example:
    >>> logits = np.array([[2.0, -1.0], [1.0, 3.0]])
    >>> labels = np.array([[1, 0], [0, 1]])
    >>> metrics = precision_and_recall(logits, labels, threshold=0.0)
    >>> metrics['CP'], metrics['CR']  # precision 1/2 and 1, recall 1 and 1
    (0.75, 1.0)
    >>> round(metrics['OP'], 4), metrics['OR']  # 2 of 3 predictions are right
    (0.6667, 1.0)
  """
  scores, labels = _check(scores, labels)
  predictions = (scores >= threshold) & (labels >= 0)
  hits = (predictions & (labels > 0)).sum(0)
  predicted, positive = predictions.sum(0), (labels > 0).sum(0)
  present = positive > 0
  by_class = [
    float(np.mean(_ratio(hits, count)[present])) if present.any() else 0.0
    for count in (predicted, positive)
  ]
  overall = [
    float(_ratio(hits.sum(), count.sum())) for count in (predicted, positive)
  ]
  return {
    'CP': by_class[0],
    'CR': by_class[1],
    'CF1': _f1(*by_class),
    'OP': overall[0],
    'OR': overall[1],
    'OF1': _f1(*overall),
  }


def mean_over_classes(values: np.ndarray) -> float:
  """Computes the mean over classes, without those that are NaN.

  Args:
    values: Float `[K]`, such as average precisions.

  Returns:
    The mean.

  Raises:
    ValueError: If all values are NaN.
  """
  defined = values[~np.isnan(values)]
  if not defined.size:
    raise ValueError(
      f'none of {len(values)} classes has a positive image, so that their mean '
      'is not defined.'
    )
  return float(defined.mean())


def _by_class(
  scores: np.ndarray,
  labels: np.ndarray,
  envelope: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
  """Computes the area under each class's precision-recall curve."""
  scores, labels = _check(scores, labels)
  areas = [
    _area(scores[valid, k], labels[valid, k] > 0, envelope)
    for k, valid in enumerate((labels >= 0).T)
  ]
  return np.array(areas, np.float64)


def _area(
  scores: np.ndarray,
  positive: np.ndarray,
  envelope: Callable[[np.ndarray], np.ndarray],
) -> float:
  """Sums precisions, after `envelope`, times the increments of recall."""
  if not positive.any():
    return np.nan
  order = np.argsort(-scores, kind='stable')
  hits = np.cumsum(positive[order])
  # The last image of every group of equal scores is a threshold.
  last = np.append(np.diff(scores[order]) != 0, True)
  precision = (hits / np.arange(1, len(hits) + 1))[last]
  increments = np.diff(hits[last] / hits[-1], prepend=0.0)
  return float(increments @ envelope(precision))


def _check(
  scores: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns both as arrays, scores in float64; raises if they do not fit."""
  scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
  if scores.ndim != 2 or scores.shape != labels.shape:
    raise ValueError(
      'scores and labels must both be [images, classes], got '
      f'{scores.shape} and {labels.shape}.'
    )
  if not np.isfinite(scores).all():
    raise ValueError(
      f'{np.count_nonzero(~np.isfinite(scores))} scores are not finite: '
      'expected logits or probabilities without NaN or infinity.'
    )
  return scores, labels


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
  """Divides counts; 0 where the denominator is 0."""
  return part / np.maximum(whole, 1)


def _f1(precision: float, recall: float) -> float:
  return 2 * precision * recall / ((precision + recall) or 1.0)
