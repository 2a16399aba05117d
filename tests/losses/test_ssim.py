"""SSIM: properties from the paper and from its formula.

The numbers are those of the list of properties in docs/ssim.md.
"""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kdjax import losses
from kdjax.losses import SsimSettings

_SHAPE = (2, 7, 9, 3)
few = hypothesis.settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)

ssim = jax.jit(losses.ssim, static_argnums=2)
rescale = jax.jit(losses.min_max_rescale, static_argnames='extent')


def _maps(seed, shape=_SHAPE, dtype=np.float32):
  rng = np.random.default_rng(seed)
  shared = rng.uniform(size=shape)
  pair = 0.6 * shared + 0.4 * rng.uniform(size=(2, *shape))
  return pair.astype(dtype)


@few
@hypothesis.given(seed=seeds)
def test_1_loss_is_symmetric_and_between_0_and_1(seed):
  x, y = _maps(seed)
  loss = np.asarray(ssim(x, y))
  np.testing.assert_allclose(loss, ssim(y, x), rtol=1e-5)
  assert np.all((loss > 0) & (loss < 1))
  np.testing.assert_allclose(ssim(x, x), 0, atol=1e-6)


@few
@hypothesis.given(seed=seeds)
def test_2_sign_flip_has_a_small_loss_without_rescaling(seed):
  x = np.random.default_rng(seed).normal(size=_SHAPE).astype(np.float32)
  x -= x.mean((1, 2), keepdims=True)
  similarity = 1 - 2 * ssim(x, -x)
  assert np.all(similarity > 0.8)  # two negative terms multiply
  # With rescaled maps, the similarity to the flipped map is near its minimum.
  flipped = 1 - 2 * ssim(rescale(x), rescale(-x))
  assert np.all(flipped < -0.5)


@few
@hypothesis.given(seed=seeds, shift=st.floats(0.5, 4))
def test_3_common_shift_changes_the_loss(seed, shift):
  x, y = _maps(seed)
  assert np.all(ssim(x + shift, y + shift) < ssim(x, y))


@few
@hypothesis.given(seed=seeds, factor=st.floats(0.1, 50), shift=st.floats(-9, 9))
def test_4_rescaling_by_channel_removes_scale_and_shift(seed, factor, shift):
  x, _ = _maps(seed)
  factors = factor * np.arange(1, 4, dtype=np.float32)
  got = rescale(factors * x + shift)
  np.testing.assert_allclose(got, rescale(x), atol=2e-4 + 2e-4 / factor)
  assert float(got.min()) == 0
  assert 0.99 < float(got.max()) <= 1


def test_4_constant_student_has_loss_one_half():
  _, y = _maps(0)
  loss = ssim(rescale(jnp.full(_SHAPE, 3.0)), rescale(y))
  np.testing.assert_allclose(loss, 0.5, atol=2e-3)


@pytest.mark.parametrize('dtype', [jnp.float16, jnp.bfloat16])
def test_5_moments_of_half_precision_maps_are_float32(dtype):
  x, y = (jnp.asarray(x, dtype) for x in _maps(1))
  got = ssim(x, y)
  assert got.dtype == jnp.float32
  np.testing.assert_array_equal(
    got, ssim(x.astype(jnp.float32), y.astype(jnp.float32))
  )
  assert rescale(x).dtype == jnp.float32


def test_5_products_have_the_highest_precision():
  shape = jax.ShapeDtypeStruct((1, 6, 6, 2), jnp.float32)
  traced = jax.make_jaxpr(jax.grad(lambda x, y: losses.ssim(x, y).sum()))(
    shape, shape
  )
  text = str(traced)
  products = text.count('dot_general[')
  assert products >= 8
  highest = text.count('precision=(Precision.HIGHEST, Precision.HIGHEST)')
  assert highest == products


def test_5_variance_of_maps_far_from_zero_is_accurate():
  x, y = (0.02 * x + 0.9 for x in _maps(2))
  with jax.enable_x64(True):
    want = losses.ssim(*(x.astype(np.float64) for x in (x, y)))
  np.testing.assert_allclose(ssim(x, y), want, rtol=1e-4)


@pytest.mark.parametrize('exponents', [(1, 1, 1), (0, 1, 2)])
@pytest.mark.parametrize('shape', [_SHAPE, (2, 1, 1, 3)])
def test_6_constant_maps_have_finite_values_and_gradients(exponents, shape):
  names = ('luminance', 'contrast', 'structure')
  settings = SsimSettings(**dict(zip(names, exponents)))

  def loss(x, y):
    pair = (losses.min_max_rescale(maps) for maps in (x, y))
    return losses.ssim(*pair, settings).sum()

  step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
  # One constant channel, a constant batch entry, and constant maps.
  living = _maps(3, shape)
  dead = living.copy()
  dead[..., 0] = 0.25
  for x, y in (dead, (dead[0], living[1]), np.zeros_like(living)):
    value, gradients = step(x, y)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradients))


def test_combined_formula_is_the_product_of_its_terms():
  x, y = _maps(4)
  product = functools.reduce(jnp.multiply, losses.ssim_components(x, y))
  np.testing.assert_allclose(losses.ssim_map(x, y), product, atol=2e-5)


def test_custom_gradient_matches_autodiff():
  one, other = _maps(3)

  def by_rules(student):
    similar = losses.ssim_map(student, other)
    return jnp.clip((1 - similar) / 2, 0, 1).mean()

  value, gradient = jax.value_and_grad(by_rules)(one)
  ours = jax.value_and_grad(lambda x: losses.ssim(x, other).mean())(one)
  np.testing.assert_allclose(ours[0], value, rtol=1e-5)
  scale = jnp.abs(gradient).max()
  np.testing.assert_allclose(ours[1] / scale, gradient / scale, atol=2e-5)


def test_zero_exponents_give_zero_loss():
  settings = SsimSettings(luminance=0, contrast=0, structure=0)
  assert losses.ssim_map(*_maps(0), settings).shape == _SHAPE
  np.testing.assert_array_equal(losses.ssim(*_maps(0), settings), 0)


def test_single_pixel_worked_by_hand():
  # For a 1x1 map only the luminance term differs from 1.
  x, y = (jnp.full((1, 1, 1, 1), value) for value in (0.5, 0.25))
  want = (2 * 0.125 + 1e-4) / (0.25 + 0.0625 + 1e-4)
  np.testing.assert_allclose(losses.ssim_map(x, y)[0, 0, 0, 0], want, rtol=1e-6)


def test_the_defaults_are_the_papers():
  settings = SsimSettings()
  assert (settings.window, settings.sigma) == (11, 1.5)
  np.testing.assert_allclose(settings.constants, (1e-4, 9e-4), rtol=1e-12)
  # Wang et al.'s window: exp(-d² / (2 · 1.5²)) over its sum.
  want = [0.26601, 0.21301, 0.10936, 0.03600, 0.00760, 0.00103]
  got = losses.gaussian_window(11, 1.5)
  np.testing.assert_allclose(got[5:], want, atol=5e-6)
  np.testing.assert_array_equal(got[:6], got[:4:-1])


def test_one_window_worked_by_hand():
  # Small contrasts, beside which C1 and C2 count. The window is 3 × 3 pixels.
  x = np.array([[0.03, 0.01, 0.0], [0.02, 0.05, 0.01], [0.0, 0.04, 0.02]])
  y = np.array([[0.01, 0.02, 0.03], [0.05, 0.01, 0.0], [0.02, 0.0, 0.01]])
  weights = np.exp(-(np.array([1, 0, 1]) / (2 * 1.5**2)))
  weights = np.outer(weights, weights) / weights.sum() ** 2
  (mx, my) = ((weights * z).sum() for z in (x, y))
  vx, vy, cov = (
    (weights * (a - a_mean) * (b - b_mean)).sum()
    for a, a_mean, b, b_mean in ((x, mx, x, mx), (y, my, y, my), (x, mx, y, my))
  )
  c1, c2 = 0.01**2, 0.03**2
  luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
  similarity = luminance * (2 * cov + c2) / (vx + vy + c2)
  settings = SsimSettings(window=3, border='valid')
  pair = [jnp.asarray(z, jnp.float32)[None, :, :, None] for z in (x, y)]
  np.testing.assert_allclose(
    losses.ssim_map(*pair, settings).ravel(), [similarity], rtol=1e-5
  )
  loss = (1 - similarity) / 2
  np.testing.assert_allclose(losses.ssim(*pair, settings), [loss], rtol=1e-5)
  terms = losses.ssim_components(*pair, settings)
  product = np.sqrt(vx * vy)
  want = (
    (2 * product + c2) / (vx + vy + c2),
    (cov + c2 / 2) / (product + c2 / 2),
  )
  np.testing.assert_allclose(
    [float(x[0, 0, 0, 0]) for x in terms[1:]], want, 1e-4
  )


@pytest.mark.parametrize('border', ['reflect', 'valid'])
@pytest.mark.parametrize('shape', [(2, 11, 13, 2), (1, 5, 3, 2), (1, 1, 40, 1)])
def test_window_means_by_products_and_shifts_agree(border, shape):
  weights = losses.gaussian_window(5, 1.5)
  if border == 'valid' and min(shape[1:3]) < 5:
    with pytest.raises(ValueError, match='window of 5 pixels does not'):
      losses.window_means(jnp.zeros(shape), weights, border)
    return
  x, cotangent = _maps(5, shape)

  def both(way):
    value, pullback = jax.vjp(lambda x: way(x, weights, border), x)
    rows, columns = (n - value.shape[a] for a, n in enumerate(shape[:3]) if a)
    inside = cotangent[:, rows // 2 :, columns // 2 :][
      :, : value.shape[1], : value.shape[2]
    ]
    return value, *pullback(inside)

  found = [
    jax.jit(both, static_argnums=0)(way)
    for way in (
      losses.window_means_by_products,
      losses.window_means_by_shifts,
      losses.window_means,
    )
  ]
  for other in found[1:]:
    for got, want in zip(other, found[0]):
      np.testing.assert_allclose(got, want, atol=1e-6)


def test_long_axes_use_shifts():
  # The implementations are told apart by their number of dot_generals.
  def dots(width):
    shape = jax.ShapeDtypeStruct((1, 3, width, 1), jnp.float32)
    weights = losses.gaussian_window(3, 1.5)
    traced = jax.make_jaxpr(lambda x: losses.window_means(x, weights, 'valid'))
    return str(traced(shape)).count('dot_general[')

  assert dots(128) == 2
  assert dots(129) == 1


@pytest.mark.parametrize('size', [3, 6, 11])
def test_window_means_match_numpy_with_reflection(size):
  weights = losses.gaussian_window(11, 1.5)
  np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
  x = np.random.default_rng(0).normal(size=(1, size, 1, 1))
  padded = np.pad(x[0, :, 0, 0], 5, mode='reflect')
  want = np.convolve(padded, weights, mode='valid')
  got = losses.window_means(jnp.asarray(x, np.float32), weights, 'reflect')
  np.testing.assert_allclose(got[0, :, 0, 0], want, atol=1e-6)


def test_stop_gradient_of_the_range():
  x, y = _maps(6)

  def loss(x, stop):
    maps = losses.min_max_rescale(x, stop_gradient_range=stop)
    return losses.ssim(maps, rescale(y)).sum()

  step = jax.jit(jax.value_and_grad(loss), static_argnums=1)
  (value, slope), (other, without) = step(x, False), step(x, True)
  np.testing.assert_allclose(value, other)
  # With the range's gradient, a shift has zero gradient; without it, not.
  assert np.max(np.abs(np.sum(slope, (1, 2)))) < 1e-5
  assert np.max(np.abs(np.sum(without, (1, 2)))) > 1e-3


def test_tied_extremes_share_the_gradient():
  x = jnp.array([0.0, 0.0, 1.0, 2.0]).reshape(1, 2, 2, 1)
  slope = jax.grad(lambda x: losses.min_max_rescale(x)[0, 1, 0, 0])(x)
  np.testing.assert_allclose(
    slope.ravel(), [-0.125, -0.125, 0.5, -0.25], rtol=1e-5
  )


@pytest.mark.parametrize('devices', [2, 8])
def test_sharded_batch_range_matches_one_device(devices):
  x, y = _maps(7, (8, 4, 4, 2))

  def loss(x):
    maps = (losses.min_max_rescale(z, extent='batch') for z in (x, y))
    return losses.ssim(*maps).mean()

  step = jax.value_and_grad(loss)
  want = jax.jit(step)(x)
  mesh = jax.make_mesh(
    (devices,),
    ('data',),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:devices],
  )
  rows = NamedSharding(mesh, PartitionSpec('data'))
  got = jax.jit(step)(jax.device_put(x, rows))
  for mine, theirs in zip(got, want):
    np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_vmapped_maps_match_the_batch():
  x, y = _maps(8)
  one_by_one = jax.vmap(lambda x, y: losses.ssim(x[None], y[None])[0])(x, y)
  np.testing.assert_allclose(one_by_one, ssim(x, y), rtol=1e-5)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'window': 4}, 'needs an odd size.* got 4'),
    ({'sigma': 0.0}, 'a positive sigma; got 11 and 0.0'),
    ({'luminance': 0.5}, 'luminance is the exponent .* got 0.5'),
    ({'structure': -1}, 'structure is the exponent .* got -1'),
    ({'data_range': 0.0}, 'data_range must be positive'),
  ],
)
def test_invalid_settings_raise_an_error(settings, message):
  with pytest.raises(ValueError, match=message):
    SsimSettings(**settings)


def test_invalid_shapes_raise_an_error():
  x, y = _maps(0)
  with pytest.raises(ValueError, match=r'student \(2, 7, 9, 3\) and teacher'):
    losses.ssim(x, y[..., :2])
  with pytest.raises(ValueError, match=r"extent of .*got .*'image'"):
    losses.min_max_rescale(x, extent='image')
  with pytest.raises(ValueError, match=r'border must be one of .*same'):
    losses.window_means(x, losses.gaussian_window(3, 1.5), 'same')
