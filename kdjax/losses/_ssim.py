"""Structural dissimilarity of feature maps."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax.losses._windows import (
  Border,
  WindowMeans,
  gaussian_window,
  window_means,
)
from kdjax.losses.numerics import full_precision

_UNDER_ROOT = 1e-12  # keeps the root's gradient finite at variance 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SsimSettings:
  r"""What a structural similarity depends on besides the maps.

  Attributes:
    window: Odd size of the window.
    sigma: Of its Gaussian weights, in places.
    luminance: :math:`\alpha`, exponent of the luminance term.
    contrast: :math:`\beta`, of the contrast term.
    structure: :math:`\gamma`, of the structure term.
    k1: :math:`C_1 = (k_1 L)^2`.
    k2: :math:`C_2 = (k_2 L)^2`.
    data_range: L, largest minus least value that the maps may have.
    border: `reflect` or `valid`; see `window_means`.
    epsilon: Added to the combined denominator.
  """

  window: int = 11
  sigma: float = 1.5
  luminance: int = 1
  contrast: int = 1
  structure: int = 1
  k1: float = 0.01
  k2: float = 0.03
  data_range: float = 1.0
  border: Border = 'reflect'
  epsilon: float = 1e-12

  def __post_init__(self):
    """Checks what can be checked without maps."""
    gaussian_window(self.window, self.sigma)
    for name in ('luminance', 'contrast', 'structure'):
      exponent = getattr(self, name)
      if exponent != int(exponent) or exponent < 0:
        raise ValueError(
          f'{name} is the exponent of a term that may be negative: a whole '
          f'number, zero or more, got {exponent}.'
        )
    if not min(self.k1, self.k2, self.data_range) > 0:
      raise ValueError(
        'k1, k2 and data_range must be positive, got '
        f'{self.k1}, {self.k2} and {self.data_range}.'
      )

  @property
  def constants(self) -> tuple[float, float]:
    """C1 and C2."""
    return (self.k1 * self.data_range) ** 2, (self.k2 * self.data_range) ** 2

  @property
  def exponents(self) -> tuple[int, int, int]:
    """Of luminance, contrast and structure."""
    return int(self.luminance), int(self.contrast), int(self.structure)


class SsimComponents(NamedTuple):
  """The three terms at each place, `[B, H', W', C]`."""

  luminance: jax.Array
  contrast: jax.Array
  structure: jax.Array


def ssim(
  student: jax.Array,
  teacher: jax.Array,
  settings: SsimSettings = SsimSettings(),
  *,
  means: WindowMeans = window_means,
) -> jax.Array:
  r"""Structural dissimilarity of the maps of one image.

  .. math::
    \ell_b = \frac{1}{M} \sum_{h,w,c}
      \mathrm{clip}\Bigl(\frac{1 - \mathrm{SSIM}_{bhwc}}{2}, 0, 1\Bigr)

  with SSIM as in `ssim_map`. Blind to the sign of both maps together and not
  to their shift: maps belong into [0, `data_range`] first, `min_max_rescale`.

  Args:
    student: Float `[B, H, W, C]`.
    teacher: Of the same shape. No gradient is stopped here.
    settings: Window, exponents, constants, border.
    means: How the windows are summed; the choice is one of speed.

  Returns:
    `[B]`, float32 at least; 0 for equal maps, up to the settings' epsilon.

  Raises:
    ValueError: If the shapes differ, or the window fits nowhere.

  References:
    De Rijk, Schneider, Cordts and Gavrila, `Structural Knowledge Distillation
    for Object Detection <https://arxiv.org/abs/2211.13133>`_, 2022. Its mean
    over the batch is kornia's `ssim_loss`.
  """
  if settings.exponents == (1, 1, 1):
    values = _dissimilarity(*_fraction(student, teacher, settings, means))
  else:
    similar = ssim_map(student, teacher, settings, means=means)
    values = jnp.clip((1 - similar) / 2, 0, 1)
  return jnp.mean(values, axis=(1, 2, 3))


def ssim_map(
  student: jax.Array,
  teacher: jax.Array,
  settings: SsimSettings = SsimSettings(),
  *,
  means: WindowMeans = window_means,
) -> jax.Array:
  r"""Structural similarity at each place of each channel.

  .. math::
    \mathrm{SSIM} = l^\alpha c^\beta s^\gamma

  with the terms of `ssim_components`. With exponents 1 it is evaluated without
  roots, as

  .. math::
    \frac{(2 \mu_s \mu_t + C_1)(2 \sigma_{st} + C_2)}
      {(\mu_s^2 + \mu_t^2 + C_1)(\sigma_s^2 + \sigma_t^2 + C_2) + \epsilon} .

  Args, errors and source as those of `ssim`.

  Returns:
    `[B, H, W, C]`, with `border='valid'` window - 1 places less in both axes,
    in [-1, 1] up to rounding; float32 at least.
  """
  if settings.exponents == (1, 1, 1):
    above, below = _fraction(student, teacher, settings, means)
    return above / below
  terms = ssim_components(student, teacher, settings, means=means)
  product = jnp.ones((), terms.luminance.dtype)
  for term, exponent in zip(terms, settings.exponents):
    product = product * term**exponent
  return jnp.broadcast_to(product, terms.luminance.shape)


def ssim_components(
  student: jax.Array,
  teacher: jax.Array,
  settings: SsimSettings = SsimSettings(),
  *,
  means: WindowMeans = window_means,
) -> SsimComponents:
  r"""Luminance, contrast and structure, whatever the exponents.

  .. math::
    l = \frac{2 \mu_s \mu_t + C_1}{\mu_s^2 + \mu_t^2 + C_1}, \quad
    c = \frac{2 \sigma_s \sigma_t + C_2}{\sigma_s^2 + \sigma_t^2 + C_2}, \quad
    s = \frac{\sigma_{st} + C_2 / 2}{\sigma_s \sigma_t + C_2 / 2}

  with means, deviations and covariance of each channel under the window. 1e-12
  stands under the roots.

  Args, errors and source as those of `ssim`.
  """
  moments = _moments(student, teacher, settings, means)
  c1, c2 = settings.constants
  deviation_s = _root(moments.product(0, 0))
  deviation_t = _root(moments.product(1, 1))
  roots = deviation_s * deviation_t
  above, below = moments.luminance(c1)
  return SsimComponents(
    above / below,
    (2 * roots + c2) / (deviation_s**2 + deviation_t**2 + c2),
    (moments.product(0, 1) + c2 / 2) / (roots + c2 / 2),
  )


def _fraction(student, teacher, settings, means):
  """Exponents 1: no roots, and both variances in one sum of windows."""
  moments = _moments(student, teacher, settings, means)
  c1, c2 = settings.constants
  luminance, below = moments.luminance(c1)
  above = luminance * (2 * moments.product(0, 1) + c2)
  below = below * (moments.sum_of_variances() + c2)
  return above, below + settings.epsilon


@jax.custom_jvp
def _dissimilarity(above, below):
  """`clip((1 - above / below) / 2, 0, 1)`."""
  # Clipped before it is divided, so that the quotient is the only map.
  return jnp.clip(below - above, 0, 2 * below) / (2 * below)


@_dissimilarity.defjvp
def _dissimilarity_jvp(primals, tangents):
  # By hand, because of memory: JAX's rules for a quotient and a clip keep four
  # maps between them, and this one two.
  above, below = primals
  value, inverse = _dissimilarity(above, below), 1 / below
  change = ((0.5 - value) * tangents[1] - 0.5 * tangents[0]) * inverse
  inside = (value > 0) & (value < 1)
  return value, jnp.where(inside, change, jnp.zeros_like(change))


class _Moments(NamedTuple):
  """Two maps, each around a centre of its own, and what a window sees of them.

  Variances are what is left of large numbers; of numbers around zero less is
  lost. No centre changes them, so none needs a gradient.
  """

  maps: tuple[jax.Array, ...]  # both, minus their centres
  centers: tuple[jax.Array, ...]
  offsets: tuple[jax.Array, ...]  # window means of `maps`
  blur: Callable[[jax.Array], jax.Array]

  def product(self, i: int, j: int) -> jax.Array:
    """Covariance of maps i and j under the window."""
    mixed = self.blur(self.maps[i] * self.maps[j])
    return mixed - self.offsets[i] * self.offsets[j]

  def sum_of_variances(self) -> jax.Array:
    """Of both maps, at the price of one."""
    squares = self.blur(self.maps[0] ** 2 + self.maps[1] ** 2)
    return squares - (self.offsets[0] ** 2 + self.offsets[1] ** 2)

  def luminance(self, c1: float) -> tuple[jax.Array, jax.Array]:
    """Numerator and denominator of the luminance term."""
    x, y = (o + c for o, c in zip(self.offsets, self.centers))
    return 2 * x * y + c1, x**2 + y**2 + c1


def _moments(student: Any, teacher: Any, settings, means) -> _Moments:
  """Both in full precision, under the window of the settings."""
  pair = (full_precision(student), full_precision(teacher))
  if pair[0].shape != pair[1].shape or pair[0].ndim != 4:
    raise ValueError(
      'ssim needs maps [B, H, W, C] of one shape, got student '
      f'{pair[0].shape} and teacher {pair[1].shape}.'
    )
  weights = gaussian_window(settings.window, settings.sigma)

  def blur(maps):
    return means(maps, weights, settings.border)

  centers = tuple(
    jax.lax.stop_gradient(jnp.mean(x, axis=(1, 2), keepdims=True)) for x in pair
  )
  maps = tuple(x - center for x, center in zip(pair, centers))
  return _Moments(maps, centers, tuple(blur(x) for x in maps), blur)


def _root(variance: jax.Array) -> jax.Array:
  return jnp.sqrt(jnp.maximum(variance, 0) + _UNDER_ROOT)
