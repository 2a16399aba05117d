"""Scores of multi-label recognition; NumPy, in float64.

Labels are `[N, K]`: 1 where a class is in the image, 0 where it is not, and
below 0 where that is not to be judged, as for an image that shows a class only
by objects marked difficult. Scores are anything that orders the images: logits
do as well as probabilities, and better, because few of them are equal.
"""

import numpy as np


def average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
  r"""Average precision of each class, not interpolated.

  With the images of one class ordered by falling score, :math:`P_i` and
  :math:`R_i` the precision and recall of taking all down to the :math:`i`-th
  threshold,

  .. math:: \mathrm{AP} = \sum_i (R_i - R_{i-1}) \, P_i .

  Images of equal score are taken together, so that their order in the set
  plays no part.

  Args:
    scores: Float `[N, K]`, larger where a class is more likely.
    labels: `[N, K]`, see above.

  Returns:
    Float64 `[K]` in [0, 1]; NaN for a class without a positive image.

  Raises:
    ValueError: If the shapes differ or a score is not a finite number.
  """
  return _each_class(scores, labels, lambda precision: precision)


def voc_average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
  r"""Area under the monotone envelope of precision over recall, by class.

  As `average_precision`, but each :math:`P_i` is replaced by the largest
  precision at that recall or a higher one, :math:`\max_{j \ge i} P_j`: what
  PASCAL VOC measures since 2010 (before, at eleven points of recall).

  Args:
    scores: Float `[N, K]`.
    labels: `[N, K]`, see above.

  Returns:
    Float64 `[K]` in [0, 1]; NaN for a class without a positive image.

  Raises:
    ValueError: If the shapes differ or a score is not a finite number.
  """
  return _each_class(
    scores,
    labels,
    lambda precision: np.maximum.accumulate(precision[::-1])[::-1],
  )


def precision_and_recall(
  scores: np.ndarray, labels: np.ndarray, threshold: float
) -> dict[str, float]:
  r"""Precision, recall and F1 of what lies at or above a threshold.

  By class (`CP`, `CR`, `CF1`): means over the classes that have a positive
  image. Overall (`OP`, `OR`, `OF1`): over all pairs of image and class. The two
  F1 are :math:`2 P R / (P + R)` of the two before them, as the field has it;
  `CF1` is no mean over classes. A class that is never predicted has precision
  0, and what has no denominator is 0.

  Args:
    scores: Float `[N, K]`.
    labels: `[N, K]`, see above; what is not judged counts nowhere.
    threshold: 0.5 for probabilities, 0 for logits.

  Returns:
    The six, in [0, 1].

  Raises:
    ValueError: If the shapes differ or a score is not a finite number.
  """
  scores, labels = _checked(scores, labels)
  predicted = (scores >= threshold) & (labels >= 0)
  hits = (predicted & (labels > 0)).sum(0)
  predicted, positive = predicted.sum(0), (labels > 0).sum(0)
  occurs = positive > 0
  by_class = [
    float(np.mean(_ratio(hits, count)[occurs])) if occurs.any() else 0.0
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
  """The mean of what is not NaN; NaN if all are."""
  known = values[~np.isnan(values)]
  return float(known.mean()) if known.size else float('nan')


def _each_class(scores, labels, shape):
  scores, labels = _checked(scores, labels)
  found = [
    _area(scores[judged, k], labels[judged, k] > 0, shape)
    for k, judged in enumerate((labels >= 0).T)
  ]
  return np.array(found, np.float64)


def _area(scores, positive, shape):
  """Sum of the precisions, each times the recall gained there."""
  if not positive.any():
    return np.nan
  order = np.argsort(-scores, kind='stable')
  hits = np.cumsum(positive[order])
  # A threshold lies behind the last of every run of equal scores.
  last = np.append(np.diff(scores[order]) != 0, True)
  precision = (hits / np.arange(1, len(hits) + 1))[last]
  gained = np.diff(hits[last] / hits[-1], prepend=0.0)
  return float(gained @ shape(precision))


def _checked(scores, labels):
  scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
  if scores.ndim != 2 or scores.shape != labels.shape:
    raise ValueError(
      'scores and labels must both be [images, classes], got '
      f'{scores.shape} and {labels.shape}.'
    )
  if not np.isfinite(scores).all():
    raise ValueError(
      f'{np.count_nonzero(~np.isfinite(scores))} scores are not finite numbers.'
    )
  return scores, labels


def _ratio(part, whole):
  return part / np.maximum(whole, 1)


def _f1(precision, recall):
  return 2 * precision * recall / ((precision + recall) or 1.0)
