"""Losses over logits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from kdjax import losses


class SoftTargetKlTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    keys = jax.random.split(jax.random.key(0))
    self.student, self.teacher = (jax.random.normal(k, (8, 5)) for k in keys)

  @chex.variants(with_jit=True, without_jit=True)
  def test_value_worked_by_hand(self):
    # p = (3/4, 1/4), q = (1/2, 1/2): 0.75 log 1.5 + 0.25 log 0.5 nats.
    loss = self.variant(losses.soft_target_kl)(
      jnp.zeros((1, 2)), jnp.log(jnp.array([[3.0, 1.0]])), temperature=1.0
    )
    np.testing.assert_allclose(loss, [0.130812], rtol=1e-5)

  @parameterized.parameters(1.0, 4.0, 20.0)
  def test_gradient_is_t_times_difference_of_probabilities(self, t):
    def total(z):
      return losses.soft_target_kl(z, self.teacher, temperature=t).sum()

    want = t * (
      jax.nn.softmax(self.student / t) - jax.nn.softmax(self.teacher / t)
    )
    chex.assert_trees_all_close(jax.grad(total)(self.student), want, atol=1e-5)

  def test_loss_is_invariant_to_a_shift_of_logits(self):
    chex.assert_trees_all_close(
      losses.soft_target_kl(self.student + 7.0, self.teacher),
      losses.soft_target_kl(self.student, self.teacher),
      rtol=1e-4,
    )

  def test_bfloat16_logits_give_a_float32_loss(self):
    loss = losses.soft_target_kl(
      self.student.astype(jnp.bfloat16), self.teacher.astype(jnp.bfloat16)
    )
    assert loss.dtype == jnp.float32

  def test_mismatched_shapes_are_named_in_the_error(self):
    with self.assertRaisesRegex(ValueError, r'\(8, 5\).*\(8, 4\)'):
      losses.soft_target_kl(self.student, self.teacher[:, :4])


def test_cross_entropy_worked_by_hand():
  logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]]))
  labels = jnp.array([0, 2])
  np.testing.assert_allclose(
    losses.cross_entropy(logits, labels), -np.log([0.7, 0.25]), rtol=1e-6
  )
  smooth = losses.cross_entropy(logits, labels, label_smoothing=0.3)
  even = -np.log([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]]).mean(axis=1)
  want = -0.7 * np.log([0.7, 0.25]) + 0.3 * even
  np.testing.assert_allclose(smooth, want, rtol=1e-5)


@pytest.mark.parametrize('label', [-1, 3])
def test_label_out_of_range_gives_nan(label):
  loss = losses.cross_entropy(jnp.zeros((2, 3)), jnp.array([0, label]))
  np.testing.assert_allclose(loss, [np.log(3), np.nan], rtol=1e-6)


def test_cross_entropy_names_mismatched_shapes():
  with pytest.raises(ValueError, match=r'\(2, 3\) and \(3,\)'):
    losses.cross_entropy(jnp.zeros((2, 3)), jnp.zeros(3, jnp.int32))


def test_sigmoid_cross_entropy_worked_by_hand():
  # Probabilities 3/4, 1/2 and 1/4; the last class is not labeled at first.
  logits = jnp.array([[np.log(3), 0.0, -np.log(3)]] * 2)
  labels = jnp.array([[1, 0, -1], [0, 0, 0]], jnp.int8)
  want = [-np.log([3 / 4, 1 / 2]).mean(), -np.log([1 / 4, 1 / 2, 3 / 4]).mean()]
  loss = losses.sigmoid_cross_entropy(logits, labels)
  np.testing.assert_allclose(loss, want, rtol=1e-6)


def test_sigmoid_cross_entropy_of_extreme_logits():
  logits = jnp.array([[200.0], [-200.0], [30.0]])
  labels = jnp.array([[0], [1], [1]], jnp.int8)
  loss = losses.sigmoid_cross_entropy(logits, labels)
  # softplus(z) - z would round the last one to 0.
  np.testing.assert_allclose(loss, [200, 200, np.exp(-30.0)], rtol=1e-5)
  unlabeled = losses.sigmoid_cross_entropy(jnp.ones((1, 2)), -jnp.ones((1, 2)))
  np.testing.assert_array_equal(unlabeled, [0.0])


def test_gradient_of_sigmoid_cross_entropy_matches_the_formula():
  logits = jnp.array([[0.0, 2.0, -1.0]])
  labels = jnp.array([[1, 0, 1]], jnp.int8)
  grad = jax.grad(lambda z: losses.sigmoid_cross_entropy(z, labels).sum())
  want = (jax.nn.sigmoid(logits) - labels) / 3
  np.testing.assert_allclose(grad(logits), want, rtol=1e-6)


def test_sigmoid_cross_entropy_names_mismatched_shapes():
  with pytest.raises(ValueError, match=r'\(2, 3\) and \(2,\)'):
    losses.sigmoid_cross_entropy(jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32))
