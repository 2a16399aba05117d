import pathlib

import numpy as np

from tests.golden import runner
from tests.golden.kinds import multilabel_metrics

_COPY = pathlib.Path(__file__).parent / 'values/lshfm/metrics_01.npz'


def test_committed_values_match():
  results = multilabel_metrics.check(_COPY)
  assert len(results) == 4
  assert [r for r in results if not r.passed] == []


def test_difficult_object_counted_as_negative_fails(tmp_path):
  stored = dict(np.load(_COPY))
  stored['target_voc'] = np.where(stored['target_voc'] > 0, 1, -1)
  path = tmp_path / 'metrics.npz'
  np.savez(path, **stored)
  assert runner.kind_of(path) == 'multilabel_metrics'
  failed = [r.name for r in multilabel_metrics.check(path) if not r.passed]
  assert failed == ['voc_ap']
