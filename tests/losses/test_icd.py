"""Properties of the ICD loss that docs/icd.md states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses


def _rows(seed, images=6, width=4):
  keys = jax.random.split(jax.random.key(seed))
  return [jax.random.normal(key, (images, width)) for key in keys]


@pytest.mark.slow
def test_bias_has_no_effect():
  student, teacher = _rows(0)

  def loss(bias):
    return losses.icd(student, teacher, scale=3.0, bias=bias).mean()

  np.testing.assert_allclose(loss(40.0), loss(0.0), rtol=1e-5)
  np.testing.assert_allclose(jax.grad(loss)(0.7), 0, atol=1e-6)


def test_initial_contrastive_loss_is_near_log_batch_size():
  student, teacher = _rows(1, images=64, width=128)
  contrast = losses.icd(
    student, teacher, scale=jnp.e, invariance_weight=0.0
  ).mean()
  both = losses.icd(student, teacher, scale=jnp.e, invariance_weight=1.0).mean()
  np.testing.assert_allclose(contrast, np.log(64), rtol=0.05)
  assert 0 < both - contrast < 0.1


def test_loss_is_not_symmetric_in_student_and_teacher():
  student, teacher = _rows(2)
  for weight in (0.0, 1.0):  # without and with the invariance term
    one, other = (
      losses.icd(*pair, scale=5.0, invariance_weight=weight).mean()
      for pair in ((student, teacher), (teacher, student))
    )
    assert abs(one - other) > 1e-3


def test_symmetric_logits_have_zero_invariance_loss():
  student, _ = _rows(3)
  logits = losses.icd_logits(student, student, scale=5.0)
  np.testing.assert_allclose(logits, logits.T, atol=1e-6)
  without, with_it = (
    losses.icd(student, student, scale=5.0, invariance_weight=weight)
    for weight in (0.0, 1.0)
  )
  np.testing.assert_allclose(with_it, without, atol=1e-5)


def test_single_image_has_zero_loss_and_gradient():
  student, teacher = _rows(4, images=1)
  value, slope = jax.value_and_grad(
    lambda x: losses.icd(x, teacher, scale=5.0).sum()
  )(student)
  assert float(value) == 0
  np.testing.assert_array_equal(slope, 0)


def test_loss_of_two_images_worked_by_hand():
  # L = [[s, 0], [0, s]]: symmetric, so only -log softmax of the diagonal.
  identity = jnp.eye(2)
  want = np.log1p(np.exp(-2.0))
  got = losses.icd(3 * identity, identity, scale=2.0)
  np.testing.assert_allclose(got, [want, want], rtol=1e-5)


def test_both_softmaxes_worked_by_hand():
  # Cosines [[1, 0.6], [0, 0.8]]; P is the softmax of rows, Q of columns.
  student = jnp.array([[2.0, 0.0], [0.0, 1.0]])
  teacher = jnp.array([[3.0, 0.0], [0.6, 0.8]])
  cosines = np.array([[1.0, 0.6], [0.0, 0.8]])
  p, q = (
    np.exp(5 * x) / np.exp(5 * x).sum(1)[:, None] for x in (cosines, cosines.T)
  )
  contrast = -np.log(np.diag(p))
  invariance = (q * np.log(q / p)).sum(1)
  got = losses.icd(student, teacher, scale=5.0, invariance_weight=0.25)
  np.testing.assert_allclose(got, contrast + 0.25 * invariance, rtol=1e-5)
  swapped = (p * np.log(p / q)).sum(1)
  assert np.all(np.abs(swapped - invariance) > 0.01)


def test_larger_batch_has_a_larger_loss():
  student, teacher = _rows(5, images=8)
  whole = losses.icd(student, teacher, scale=3.0).mean()
  half = losses.icd(student[:4], teacher[:4], scale=3.0).mean()
  assert half < whole


def test_mismatched_shapes_raise_an_error():
  student, teacher = _rows(6)
  with pytest.raises(ValueError, match=r'student \(6, 4\) and teacher \(5, 4'):
    losses.icd(student, teacher[:5], scale=1.0)
