"""Classes with a logit of -inf, which a network excludes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.losses.transport.joint import LABEL_COSTS

STUDENT = jnp.array([[1.0, 2.0, 3.0, 0.5]])
TEACHER = jnp.array([[2.0, -jnp.inf, 1.0, 0.0]])
OTHER = jnp.array([[0.3, -jnp.inf, -1.0, 2.0]])
LABELS = jnp.array([2])
KEPT = np.array([0, 2, 3])


@pytest.mark.parametrize(
  ('temperature', 'want', 'gradient'),
  [  # of PyTorch's kl_div
    (1.0, 1.183936, [-0.579872, 0.232057, 0.386067, -0.038252]),
    (4.0, 5.795576, [-0.846221, 1.066634, 0.063601, -0.284015]),
  ],
)
def test_soft_target_kl_of_excluding_teacher(temperature, want, gradient):
  def total(student, teacher):
    return losses.soft_target_kl(
      student, teacher, temperature=temperature
    ).sum()

  np.testing.assert_allclose(total(STUDENT, TEACHER), want, rtol=1e-6)
  of_student, of_teacher = jax.grad(total, argnums=(0, 1))(STUDENT, TEACHER)
  np.testing.assert_allclose(of_student, [gradient], atol=2e-6)
  assert np.isfinite(of_teacher).all()
  assert of_teacher[0, 1] == 0


def test_soft_target_kl_ignores_class_that_both_exclude():
  both = losses.soft_target_kl(OTHER, TEACHER)
  kept = losses.soft_target_kl(OTHER[:, KEPT], TEACHER[:, KEPT])
  np.testing.assert_allclose(both, kept, rtol=1e-6)
  gradient = jax.grad(lambda z: losses.soft_target_kl(z, TEACHER).sum())(OTHER)
  assert np.isfinite(gradient).all()
  assert gradient[0, 1] == 0


def test_soft_target_kl_is_infinite_if_only_student_excludes_a_class():
  assert losses.soft_target_kl(TEACHER, STUDENT) == jnp.inf


def test_cross_entropy_with_excluded_class():
  kept = losses.cross_entropy(TEACHER[:, KEPT], jnp.array([1]))
  np.testing.assert_allclose(losses.cross_entropy(TEACHER, LABELS), kept)
  gradient = jax.grad(lambda z: losses.cross_entropy(z, LABELS).sum())(TEACHER)
  want = jax.nn.softmax(TEACHER) - jax.nn.one_hot(LABELS, 4)
  np.testing.assert_allclose(gradient, want, atol=1e-6)
  assert losses.cross_entropy(TEACHER, jnp.array([1])) == jnp.inf
  smoothed = losses.cross_entropy(TEACHER, LABELS, label_smoothing=0.1)
  assert smoothed == jnp.inf


def test_sigmoid_cross_entropy_with_excluded_class():
  labels = jnp.array([[1, 0, 0, -1]])
  loss = losses.sigmoid_cross_entropy(TEACHER, labels)
  want = np.mean(np.logaddexp(0, [-2.0, -np.inf, 1.0]))
  np.testing.assert_allclose(loss, [want], rtol=1e-6)
  gradient = jax.grad(lambda z: losses.sigmoid_cross_entropy(z, labels).sum())(
    TEACHER
  )
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize('name', sorted(LABEL_COSTS))
def test_label_costs_ignore_class_that_both_exclude(name):
  student = jnp.concatenate([OTHER, TEACHER])
  teacher = jnp.concatenate([TEACHER, OTHER, TEACHER])
  labels = jnp.array([0, 2, 3])
  if name == 'hard01':
    student, labels = teacher, jnp.array([0, 2, 3])

  def cost(student, teacher):
    return LABEL_COSTS[name](student, teacher, labels)

  want = cost(student[:, KEPT], teacher[:, KEPT])
  np.testing.assert_allclose(cost(student, teacher), want, rtol=1e-5, atol=1e-6)
  gradient = jax.grad(lambda *z: cost(*z).sum())(student, teacher)
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
  ('name', 'infinite'),
  [('sqlogit', True), ('ce_ts', True), ('kl_st', False), ('sqprob', False)],
)
def test_label_costs_if_only_student_excludes_a_class(name, infinite):
  cost = LABEL_COSTS[name](TEACHER, STUDENT, LABELS)
  assert bool(jnp.isinf(cost).all()) == infinite
  assert not jnp.isnan(cost).any()
