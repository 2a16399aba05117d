import doctest

import hypothesis
import hypothesis.extra.numpy as numpy_strategies
import numpy as np
import pytest
from hypothesis import strategies

from kdjax import metrics

BOTH = (metrics.average_precision, metrics.voc_average_precision)
# Few values, so that many are equal.
SCORES = numpy_strategies.arrays(
  np.float64, (12, 3), elements=strategies.integers(0, 6).map(float)
)
LABELS = numpy_strategies.arrays(
  np.int8, (12, 3), elements=strategies.integers(-1, 1)
)


def _column(*values):
  return np.array(values, float)[:, None]


def test_average_precision_worked_by_hand():
  # By descending score: hit, miss, hit, hit. Precisions at the hits: 1, 2/3,
  # 3/4; the envelope raises the second to 3/4.
  scores, labels = _column(0.9, 0.8, 0.7, 0.6), _column(1, 0, 1, 1)
  (plain,) = metrics.average_precision(scores, labels)
  (voc,) = metrics.voc_average_precision(scores, labels)
  assert plain == pytest.approx((1 + 2 / 3 + 3 / 4) / 3, abs=1e-15)
  assert voc == pytest.approx((1 + 3 / 4 + 3 / 4) / 3, abs=1e-15)


def test_ignored_images_have_no_effect():
  scores, labels = _column(0.9, 0.85, 0.8), _column(1, -1, 1)
  for measure in BOTH:
    assert measure(scores, labels) == [1.0]
  values = metrics.precision_and_recall(scores, labels, 0.5)
  assert values['CP'] == values['CR'] == 1.0


def test_equal_scores_give_the_fraction_of_positives():
  labels = _column(1, 0, 0, 1, 0)
  for measure in BOTH:
    assert measure(np.zeros((5, 1)), labels) == [0.4]


def test_classes_without_positive_images_are_excluded_from_means():
  labels = np.array([[1, 0, 0], [1, 0, -1]])
  values = metrics.average_precision(np.ones((2, 3)), labels)
  np.testing.assert_array_equal(values, [1, np.nan, np.nan])
  assert metrics.mean_over_classes(values) == 1.0
  six = metrics.precision_and_recall(np.ones((2, 3)), labels, 0.5)
  assert (six['CP'], six['CR']) == (1.0, 1.0)
  assert six['OP'] == 2 / 5  # 2 hits, 5 predictions (1 is ignored)


def test_no_positive_labels_give_nan_and_zero():
  none = np.zeros((2, 3))
  with pytest.raises(ValueError, match='none of 3 classes has a positive'):
    metrics.mean_over_classes(metrics.average_precision(none, none))
  assert set(metrics.precision_and_recall(none, none, 0.5).values()) == {0.0}


def test_all_six_metrics_worked_by_hand():
  scores = np.array([[0.9, 0.2], [0.8, 0.5], [0.1, 0.4]])
  labels = np.array([[1, 0], [0, 1], [0, 1]])
  got = metrics.precision_and_recall(scores, labels, 0.5)
  want = {
    'CP': (1 / 2 + 1) / 2,
    'CR': (1 + 1 / 2) / 2,
    'CF1': 0.75,
    'OP': 2 / 3,
    'OR': 2 / 3,
    'OF1': 2 / 3,
  }
  assert got == pytest.approx(want, abs=1e-15)


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
  # Everything is predicted: recall 1, precision 1/3 and 2/3, overall 3/6.
  labels = np.array([[1, 0], [0, 1], [0, 1]])
  got = metrics.precision_and_recall(np.ones((3, 2)), labels, 0.5)
  want = {'CP': 0.5, 'CR': 1.0, 'OP': 0.5, 'OR': 1.0}
  want |= dict.fromkeys(('CF1', 'OF1'), 2 * 0.5 / 1.5)
  assert got == pytest.approx(want, abs=1e-15)


@hypothesis.given(SCORES, LABELS, strategies.permutations(range(12)))
def test_invariant_to_image_order_and_to_increasing_maps_of_scores(
  scores, labels, rows
):
  for measure in BOTH:
    whole = measure(scores, labels)
    np.testing.assert_allclose(
      measure(scores[rows], labels[rows]), whole, rtol=1e-12
    )
    np.testing.assert_array_equal(measure(np.exp(scores), labels), whole)


@hypothesis.given(SCORES, LABELS)
def test_voc_average_precision_is_never_lower(scores, labels):
  plain, voc = (measure(scores, labels) for measure in BOTH)
  known = ~np.isnan(plain)
  assert (voc >= plain - 1e-15)[known].all()
  assert ((plain > 0) & (voc <= 1 + 1e-15))[known].all()


@pytest.mark.parametrize('measure', BOTH)
def test_invalid_input_raises_an_error(measure):
  with pytest.raises(ValueError, match=r'\(2, 3\) and \(2, 2\)'):
    measure(np.zeros((2, 3)), np.zeros((2, 2)))
  with pytest.raises(ValueError, match='1 scores are not finite'):
    measure(np.array([[np.nan, 0.0]]), np.zeros((1, 2)))


def test_doctest_examples_pass():
  assert doctest.testmod(metrics, raise_on_error=True).attempted > 0
