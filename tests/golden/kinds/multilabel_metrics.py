"""Multi-label metrics: `metrics_*` of LSHFM's golden files, float64."""

import pathlib

import numpy as np

from kdjax import metrics
from tests.golden.comparison import Comparison, Stored, compare, not_compared

# The published code adds 1e-8 to its denominators, which are about 20.
_TOLERANCE = 1e-8


def check(path: pathlib.Path) -> list[Comparison]:
  """Compares both average precisions and the six scores at threshold 0.5."""
  stored = Stored.read(path)
  score, target = stored['score'], stored['target01']
  # The file has 1, -1, and 0 for objects that are not evaluated.
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
  return results + not_compared(
    stored, results, ('score', 'target01', 'target_voc')
  )
