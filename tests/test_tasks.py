import jax.numpy as jnp
import numpy as np

from kdjax.tasks import SingleLabel

LOGITS = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.2, 0.6]]))
BATCH = {'label': jnp.array([0, 2, 2], jnp.int32)}


def test_the_loss_is_the_cross_entropy_of_each_example():
  want = -np.log([0.7, 0.1, 0.6])
  np.testing.assert_allclose(SingleLabel().loss(LOGITS, BATCH), want, rtol=1e-6)


def test_outputs_say_of_each_example_whether_it_is_right():
  outputs = SingleLabel().outputs(LOGITS, BATCH)
  assert outputs['accuracy'].tolist() == [True, False, True]
  np.testing.assert_array_equal(
    outputs['loss'], SingleLabel().loss(LOGITS, BATCH)
  )


def test_the_summary_counts_exactly_and_averages_in_float64():
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


def test_its_score_is_among_the_scores():
  outputs = SingleLabel().outputs(LOGITS, BATCH)
  host = {name: np.asarray(value) for name, value in outputs.items()}
  assert SingleLabel.score in SingleLabel().summarize(host)
