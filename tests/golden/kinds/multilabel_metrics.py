"""Multi-label scores: `metrics_*` of the LSHFM goldens, float64."""

import pathlib

import numpy as np

from kdjax import metrics
from tests.golden.comparison import Comparison, Stored, compare, left_over

# The published code adds 1e-8 to what it divides by; its counts are about 20.
_TOLERANCE = 1e-8


def check(path: pathlib.Path) -> list[Comparison]:
  """Both average precisions, and the six scores at a threshold of a half."""
  stored = Stored.read(path)
  score, target = stored['score'], stored['target01']
  # The file says 1, -1 and, for what is not judged, 0.
  voc = np.where(stored['target_voc'] == 0, -1, stored['target_voc'] > 0)
  ap = metrics.average_precision(score, target)
  at_half = metrics.precision_and_recall(score, target, 0.5)
  six = [at_half[name] for name in ('OP', 'OR', 'OF1', 'CP', 'CR', 'CF1')]
  got = {
    'ap': ap,
    'mAP': 100 * metrics.mean_over_classes(ap),
    'coco_OP_OR_OF1_CP_CR_CF1': 100 * np.array(six),
    'voc_ap': metrics.voc_average_precision(score, voc),
  }
  results = [
    compare(name, value, stored[name], _TOLERANCE)
    for name, value in got.items()
  ]
  return results + left_over(
    stored, results, ('score', 'target01', 'target_voc')
  )
