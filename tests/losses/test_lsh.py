"""The statements of docs/lshfm.md and numerical safety of the hash losses."""

import functools
import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kdjax import losses

BATCH, WIDTH, HASHES = 6, 5, 40
seeds = hypothesis.given(seed=st.integers(0, 2**16))
few = hypothesis.settings(max_examples=15, deadline=None, derandomize=True)


@functools.cache
def _draw(seed=0, batch=BATCH, width=WIDTH, hashes=HASHES):
  """Draws two batches of features, normals and offsets of hyperplanes."""
  rng = np.random.default_rng(seed)
  shapes = ((batch, width), (batch, width), (width, hashes), (hashes,))
  return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


_lsh = jax.jit(losses.lsh)


@jax.jit
def _gradients(student, *rest):
  return jax.grad(lambda x: losses.lsh(x, *rest).sum())(student)


def _rotation(width=WIDTH):
  square = np.random.default_rng(1).normal(size=(width, width))
  return np.linalg.qr(square)[0].astype(np.float32)


def _expected_loss(spread, theta):
  """E[log(1 + exp(s g))] - s cos(theta) / sqrt(2 pi), g standard normal."""
  g, step = np.linspace(-9, 9, 2001, retstep=True)
  density = np.exp(-(g**2) / 2) / np.sqrt(2 * np.pi)
  spread = np.asarray(spread)
  softplus = np.logaddexp(0, spread[..., None] * g) @ density * step
  return softplus - spread * np.cos(theta) / np.sqrt(2 * np.pi)


def test_loss_worked_by_hand():
  # Hashes of the student 1 and -2, bits of the teacher 1 and 0 (on the plane).
  got = losses.lsh(
    jnp.array([[1.0, -2.0]]),
    jnp.array([[3.0, 0.0]]),
    jnp.eye(2),
    jnp.zeros(2),
  )
  want = (np.log1p(np.exp(-1)) + np.log1p(np.exp(-2))) / 2
  np.testing.assert_allclose(got, [want], rtol=1e-6)


@few
@seeds
def test_loss_without_bias_depends_on_teacher_directions_only(seed):
  student, teacher, kernel, _ = _draw(seed)
  zero = np.zeros(HASHES, np.float32)
  # Powers of two are exact, so that no bit changes.
  scale = 2.0 ** np.random.default_rng(seed).integers(-8, 9, (BATCH, 1))
  scaled = (teacher * scale).astype(np.float32)
  for function in (_lsh, _gradients):
    np.testing.assert_array_equal(
      function(student, teacher, kernel, zero),
      function(student, scaled, kernel, zero),
    )
  moved = losses.mean_squared_error(student, 2 * teacher)
  assert np.all(moved != losses.mean_squared_error(student, teacher))


@few
@seeds
def test_loss_is_convex_and_log_2_at_zero(seed):
  student, teacher, kernel, bias = _draw(seed)
  other = _draw(seed + 1)[0]
  ends = (
    _lsh(student, teacher, kernel, bias),
    _lsh(other, teacher, kernel, bias),
  )
  middle = _lsh((student + other) / 2, teacher, kernel, bias)
  assert np.all(middle <= (ends[0] + ends[1]) / 2 + 1e-6)
  at_zero = _lsh(0 * student, teacher, kernel, 0 * bias)
  np.testing.assert_allclose(at_zero, np.full(BATCH, np.log(2)), rtol=1e-6)


def test_loss_decreases_with_length_if_all_bits_agree():
  _, teacher, kernel, bias = _draw()
  values = [
    _lsh(np.float32(c) * teacher, teacher, kernel, 0 * bias)
    for c in (0.5, 1, 2, 8, 64)
  ]
  assert all(np.all(b < a) for a, b in itertools.pairwise(values))
  # With the squared error added, a large length has a large loss.
  far = np.float32(64) * teacher
  assert np.all(
    values[-1] + losses.mean_squared_error(far, teacher) > values[1]
  )


@pytest.mark.parametrize('degrees', [0, 30, 90, 150])
def test_bits_agree_with_probability_one_minus_theta_over_pi(degrees):
  theta = np.deg2rad(degrees)
  one = np.array([[1.0, 0, 0]], np.float32)
  other = np.array([[np.cos(theta), np.sin(theta), 0]], np.float32)
  kernel = losses.draw_hashes(jax.random.key(0), 3, 40000, 0.3)
  zero = jnp.zeros(40000)
  bits = [losses.hash_values(x, kernel, zero) > 0 for x in (one, 7 * other)]
  got = float(jnp.mean(bits[0] == bits[1]))
  # Four standard deviations of a mean of 40,000 bits.
  assert got == pytest.approx(1 - theta / np.pi, abs=0.01)


@pytest.mark.parametrize('degrees', [0, 60, 120])
def test_expected_loss_matches_its_closed_form(degrees):
  theta, spread, length = np.deg2rad(degrees), 0.5, 3.0
  student = np.array([[length, 0, 0]], np.float32)
  teacher = np.array([[np.cos(theta), np.sin(theta), 0]], np.float32)
  kernel = losses.draw_hashes(jax.random.key(1), 3, 100000, spread)
  got = losses.lsh(student, 5 * teacher, kernel, jnp.zeros(100000))
  want = _expected_loss(spread * length, theta)
  assert float(got[0]) == pytest.approx(float(want), abs=0.01)


@pytest.mark.parametrize(
  ('theta', 'best'), [(0.2, 8.88), (0.5, 3.21), (1.0, 1.06), (1.4, 0.275)]
)
def test_expected_loss_has_a_minimum_length_for_each_angle(theta, best):
  lengths = np.linspace(0.9 * best, 1.1 * best, 401)
  costs = _expected_loss(lengths, theta)
  assert lengths[np.argmin(costs)] == pytest.approx(best, rel=0.02)


def test_gradient_at_zero_points_along_the_teacher():
  teacher = np.array([[3.0, 4.0, 0.0]], np.float32)
  kernel = losses.draw_hashes(jax.random.key(2), 3, 100000, 0.2)
  slope = _gradients(0 * teacher, teacher, kernel, jnp.zeros(100000))
  want = -0.2 / np.sqrt(2 * np.pi) * teacher / 5
  np.testing.assert_allclose(slope, want, atol=0.002)


@few
@seeds
def test_gradient_is_bounded_by_the_mean_norm_of_the_normals(seed):
  student, teacher, kernel, bias = _draw(seed)
  slopes = np.linalg.norm(
    _gradients(1000 * student, teacher, kernel, bias), axis=1
  )
  assert np.all(slopes <= np.linalg.norm(kernel, axis=0).mean() * (1 + 1e-5))


def test_loss_is_invariant_to_scale_rotation_and_order():
  student, teacher, kernel, bias = _draw()
  want = _lsh(student, teacher, kernel, bias)
  turn = _rotation()
  order = np.random.default_rng(2).permutation(HASHES)
  for changed in (
    (student / 4, teacher / 4, 4 * kernel, bias),
    (student @ turn, teacher @ turn, turn.T @ kernel, bias),
    (student, teacher, kernel[:, order], bias[order]),
  ):
    np.testing.assert_allclose(_lsh(*changed), want, rtol=1e-5)
  rows = np.random.default_rng(3).permutation(BATCH)
  got = _lsh(student[rows], teacher[rows], kernel, bias)
  np.testing.assert_allclose(got, want[rows], rtol=1e-6)


def test_squared_hash_differences_estimate_the_squared_distance():
  student, teacher, _, _ = _draw()
  kernel = losses.draw_hashes(jax.random.key(3), WIDTH, 20000, 0.3)
  bias = jax.random.normal(jax.random.key(4), (20000,))
  got = losses.lsh_squared(student, teacher, kernel, bias)
  want = 0.3**2 * np.sum((student - teacher) ** 2, axis=1)
  np.testing.assert_allclose(got, want, rtol=0.05)


def test_bias_cancels_in_distances_of_hashes():
  student, teacher, kernel, bias = _draw()
  for loss in (losses.lsh_absolute, losses.lsh_squared):
    np.testing.assert_allclose(
      loss(student, teacher, kernel, bias),
      loss(student, teacher, kernel, 0 * bias),
      rtol=1e-4,
    )


def test_zero_features_give_finite_losses_and_gradients():
  _, _, kernel, bias = _draw()
  same = np.zeros((BATCH, WIDTH), np.float32)
  for loss in (losses.lsh, losses.lsh_absolute, losses.lsh_squared):
    value, slope = jax.value_and_grad(
      lambda x, loss=loss: loss(x, same, kernel, bias).sum()
    )(same)
    assert np.isfinite(value)
    assert np.all(np.isfinite(slope))
  value, slope = jax.value_and_grad(
    lambda x: losses.direction_squared_error(x, same).sum()
  )(same)
  assert value == 0
  assert np.all(slope == 0)


def _with_rounded_products(function, *arguments):
  """Evaluates a function with reduced default precision of matrix products.

  Operands of products without the highest precision are rounded to bfloat16, as
  on a TPU; TF32 has three bits more.
  """

  def run(closed, *values):
    known = dict(zip(closed.jaxpr.invars, values))
    known |= dict(zip(closed.jaxpr.constvars, closed.consts))

    def read(atom):
      return atom.val if hasattr(atom, 'val') else known[atom]

    for equation in closed.jaxpr.eqns:
      values = [read(atom) for atom in equation.invars]
      if equation.primitive.name == 'dot_general':
        highest = (jax.lax.Precision.HIGHEST,) * 2
        if equation.params['precision'] != highest:
          values = [x.astype(jnp.bfloat16).astype(x.dtype) for x in values]
      inner = equation.params.get('jaxpr')
      if inner is not None:
        found = run(inner, *values)
      else:
        found = equation.primitive.bind(*values, **equation.params)
        found = found if equation.primitive.multiple_results else [found]
      known |= dict(zip(equation.outvars, found))
    return [read(atom) for atom in closed.jaxpr.outvars]

  return run(jax.make_jaxpr(function)(*arguments), *arguments)[0]


def test_bits_match_float64_if_default_products_are_rounded():
  _, teacher, kernel, bias = _draw(batch=32, width=64, hashes=256)
  exact = teacher.astype(np.float64) @ kernel + bias
  clear = np.abs(exact) > 1e-4
  got = _with_rounded_products(losses.hash_values, teacher, kernel, bias)
  np.testing.assert_array_equal((got > 0)[clear], (exact > 0)[clear])
  # Without the precision argument, the emulation changes bits.
  plain = _with_rounded_products(lambda x, w: x @ w, teacher, kernel) + bias
  assert np.any((plain > 0)[clear] != (exact > 0)[clear])


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_all_products_have_the_highest_precision(dtype):
  student, teacher, kernel, bias = _draw()
  student, teacher = (jnp.asarray(x, dtype) for x in (student, teacher))
  for loss in (losses.lsh, losses.lsh_absolute, losses.lsh_squared):
    slope = jax.grad(lambda x, loss=loss: loss(x, teacher, kernel, bias).sum())
    with jax.default_matmul_precision('bfloat16'):
      text = jax.jit(slope).lower(student).as_text()
    products = [line for line in text.splitlines() if 'dot_general' in line]
    assert len(products) >= 2
    for line in products:
      assert 'precision = [HIGHEST, HIGHEST]' in line
      assert 'bf16' not in line


@pytest.mark.parametrize('devices', [2, 8])
def test_sharded_loss_and_gradient_match_one_device(devices):
  student, teacher, kernel, bias = _draw(batch=16)

  @jax.jit
  def step(student, teacher):
    return jax.value_and_grad(
      lambda x: losses.lsh(x, teacher, kernel, bias).mean()
    )(student)

  want = step(student, teacher)
  mesh = jax.make_mesh(
    (devices,),
    ('data',),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:devices],
  )
  rows = NamedSharding(mesh, PartitionSpec('data'))
  got = step(*jax.device_put((student, teacher), rows))
  for one, other in zip(got, want):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_hashes_depend_on_the_key_and_have_the_given_std():
  one, same = (
    losses.draw_hashes(jax.random.key(7), 30, 400, 0.25) for _ in range(2)
  )
  other = losses.draw_hashes(jax.random.key(8), 30, 400, 0.25)
  np.testing.assert_array_equal(one, same)
  assert np.any(one != other)
  assert float(one.std()) == pytest.approx(0.25, rel=0.03)


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (
      lambda x: losses.lsh(x, x[:2], jnp.ones((5, 3)), jnp.zeros(3)),
      r'one shape, got student \(6, 5\) and teacher \(2, 5\)',
    ),
    (
      lambda x: losses.lsh(x, x, jnp.ones((5, 0)), jnp.zeros(0)),
      r'N of at least 1, got \(6, 5\), \(5, 0\) and \(0,\)',
    ),
    (
      lambda x: losses.lsh(x, x, jnp.ones((3, 5)), jnp.zeros(5)),
      r'a kernel \[D, N\]',
    ),
    (
      lambda x: losses.draw_hashes(jax.random.key(0), 5, 0),
      'at least 1, got 5 and 0',
    ),
    (lambda x: losses.mean_absolute_error(x, x[:, :4]), 'one shape'),
  ],
)
def test_invalid_arguments_raise_an_error(call, message):
  with pytest.raises(ValueError, match=message):
    call(jnp.ones((6, 5)))
