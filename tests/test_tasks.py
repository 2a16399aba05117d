import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.features import Features
from kdjax.tasks import MultiLabel, SingleLabel
from tests.arithmetic import narrow


def _features(logits):
  embedding = jnp.zeros((len(logits), 2), logits.dtype)
  return Features((), (), (), embedding, logits)


FEATURES = _features(
  jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.2, 0.6]]))
)
BATCH = {'label': jnp.array([0, 2, 2], jnp.int32)}


def test_loss_is_the_cross_entropy_per_example():
  want = -np.log([0.7, 0.1, 0.6])
  np.testing.assert_allclose(
    SingleLabel().loss(FEATURES, BATCH), want, rtol=1e-6
  )


def test_outputs_have_loss_and_correctness_per_example():
  outputs = SingleLabel().outputs(FEATURES, BATCH)
  assert outputs['accuracy'].tolist() == [True, False, True]
  np.testing.assert_array_equal(
    outputs['loss'], SingleLabel().loss(FEATURES, BATCH)
  )


def test_summary_counts_exactly_and_averages_in_float64():
  count = 2**24 + 2  # one more would be lost in float32
  right = np.ones(count, bool)
  right[0] = False
  scores = SingleLabel().summarize(
    {'accuracy': right, 'loss': np.full(count, 0.1, np.float32)}
  )
  assert scores['correct'] == count - 1
  assert isinstance(scores['correct'], int)
  assert scores['accuracy'] == (count - 1) / count
  assert abs(scores['loss'] - float(np.float32(0.1))) < 1e-9


def test_top5_is_whether_the_label_is_among_the_five_largest():
  # Seven classes, the label's logit the first to the seventh largest.
  logits = np.array([7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
  labels = np.arange(7)
  outputs = SingleLabel(top=5).outputs(
    _features(jnp.tile(logits, (7, 1))), {'label': jnp.array(labels)}
  )
  assert outputs['top5'].tolist() == [True] * 5 + [False] * 2
  assert outputs['accuracy'].tolist() == [True] + [False] * 6
  host = {name: np.asarray(value) for name, value in outputs.items()}
  assert SingleLabel(top=5).summarize(host)['top5'] == 5 / 7


def test_first_classes_win_among_equal_logits():
  # As for argmax: constant logits are correct for five classes only.
  equal = _features(jnp.zeros((10, 10)))
  batch = {'label': jnp.arange(10)}
  outputs = SingleLabel(top=5).outputs(equal, batch)
  assert outputs['top5'].tolist() == [True] * 5 + [False] * 5


def test_top5_of_fewer_classes_is_always_true():
  assert SingleLabel(top=5).outputs(FEATURES, BATCH)['top5'].all()
  with pytest.raises(ValueError, match='top must be at least 1, got 0'):
    SingleLabel(top=0)


def test_summary_contains_the_score():
  outputs = SingleLabel().outputs(FEATURES, BATCH)
  host = {name: np.asarray(value) for name, value in outputs.items()}
  assert SingleLabel.score in SingleLabel().summarize(host)


def _host(task, logits, labels):
  features = _features(jnp.asarray(logits))
  outputs = task.outputs(features, {'label': jnp.asarray(labels)})
  return {name: np.asarray(value) for name, value in outputs.items()}


def test_multi_label_ranks_by_logits_and_thresholds_at_a_half():
  # In float32 the probabilities of 30 and 40 are both 1.
  logits = np.array([[30.0, -1.0], [40.0, 0.0]], np.float32)
  labels = np.array([[0, 0], [1, 1]], np.int8)
  scores = MultiLabel().summarize(_host(MultiLabel(), logits, labels))
  assert scores[MultiLabel.score] == 1.0
  assert (scores['OP'], scores['OR']) == (2 / 3, 1.0)
  assert scores['loss'] == pytest.approx(
    (30 + np.log1p(np.exp(-1)) + np.log(2)) / 4, rel=1e-6
  )


def test_multi_label_counts_the_positives_it_is_about():
  labels = np.array([[0, 1, -1], [0, 1, 1]], np.int8)
  scores = MultiLabel().summarize(_host(MultiLabel(), np.ones((2, 3)), labels))
  assert (scores['positives'], scores['classes_evaluated']) == (3, 2)
  assert all(np.isfinite(list(scores.values())))


@pytest.mark.parametrize('envelope', [False, True])
def test_multi_label_without_positives_has_no_score(envelope):
  task = MultiLabel(envelope=envelope)
  labels = np.array([[0, -1], [0, 0]], np.int8)
  with pytest.raises(ValueError, match=r'2 images.*0 positive labels of 2 cl'):
    task.summarize(_host(task, np.ones((2, 2)), labels))


def test_multi_label_envelope_is_optional():
  logits = np.array([[4.0], [3.0], [2.0], [1.0]], np.float32)
  labels = np.array([[1], [0], [1], [1]], np.int8)
  plain, voc = (
    task.summarize(_host(task, logits, labels))['mAP']
    for task in (MultiLabel(), MultiLabel(envelope=True))
  )
  assert plain == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
  assert voc == pytest.approx((1 + 3 / 4 + 3 / 4) / 3)


@pytest.mark.parametrize(
  ('task', 'label'),
  [
    (SingleLabel(top=2), jnp.array([0, 2])),
    (MultiLabel(), jnp.array([[0, 1, -1], [1, 0, 0]])),
  ],
)
def test_losses_of_bfloat16_logits_are_float32(task, label):
  features = _features(jnp.zeros((2, 3), jnp.bfloat16))
  assert narrow(task.loss, features, {'label': label}) == set()
  loss = jax.eval_shape(task.loss, features, {'label': label})
  assert loss.dtype == jnp.float32


@pytest.mark.parametrize('task', [SingleLabel(), MultiLabel()])
def test_samples_are_float32_embeddings_and_labels(task):
  features = _features(jnp.zeros((2, 3), jnp.bfloat16))
  samples = task.samples(features, {'label': jnp.array([0, 2])})
  assert samples['embedding'].dtype == jnp.float32
  assert samples['embedding'].shape == (2, 2)
  np.testing.assert_array_equal(samples['labels'], [0, 2])


def test_multi_label_outputs_keep_logits_in_float32():
  features = _features(jnp.ones((2, 3), jnp.bfloat16))
  label = jnp.array([[0, 1, -1], [1, 0, 0]])
  outputs = MultiLabel().outputs(features, {'label': label})
  assert outputs['logits'].dtype == jnp.float32
  np.testing.assert_array_equal(outputs['labels'], label)
