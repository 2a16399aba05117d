"""Structural dissimilarity of feature maps."""

# pyright: reportUnknownMemberType=false

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.losses._windows import (
  Border,
  WindowMeans,
  gaussian_window,
  window_means,
)
from kdjax.losses.numerics import full_precision

_ROOT_EPSILON = 1e-12  # keeps the gradient of the root finite at variance 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SsimSettings:
  r"""Window, exponents and constants of the structural similarity.

  Attributes:
    window: Size of the window in pixels, odd.
    sigma: Standard deviation of its Gaussian weights, in pixels.
    luminance: :math:`\alpha`, exponent of the luminance term.
    contrast: :math:`\beta`, exponent of the contrast term.
    structure: :math:`\gamma`, exponent of the structure term.
    k1: :math:`k_1` in :math:`C_1 = (k_1 L)^2`.
    k2: :math:`k_2` in :math:`C_2 = (k_2 L)^2`.
    data_range: L, largest minus smallest value that the maps may have.
    border: `reflect` or `valid`; see `window_means`.
    epsilon: Added to the denominator for exponents of 1.
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
    """Raises a `ValueError` for a setting out of its range."""
    gaussian_window(self.window, self.sigma)
    for name in ('luminance', 'contrast', 'structure'):
      exponent = getattr(self, name)
      if exponent != int(exponent) or exponent < 0:
        raise ValueError(
          f'{name} is the exponent of a term that may be negative: it must be '
          f'an integer, zero or more, got {exponent}.'
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
    """Exponents of luminance, contrast and structure."""
    return int(self.luminance), int(self.contrast), int(self.structure)


class SsimComponents(NamedTuple):
  """Terms of the structural similarity at each pixel, `[B, H', W', C]`.

  Attributes:
    luminance: Similarity of the local means.
    contrast: Similarity of the local standard deviations.
    structure: Local correlation.
  """

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
  r"""Computes the structural dissimilarity of the feature maps of each image.

  .. math::
    \ell_b = \frac{1}{M} \sum_{h,w,c}
      \mathrm{clip}\Bigl(\frac{1 - \mathrm{SSIM}_{bhwc}}{2}, 0, 1\Bigr)

  with SSIM as in `ssim_map` and M elements per image. It is invariant to the
  sign of both maps together but not to their shift: rescale maps to
  [0, `data_range`] first, for example with `min_max_rescale`.

  Args:
    student: Feature maps, float `[B, H, W, C]`.
    teacher: Feature maps of the same shape. Receive a gradient, too.
    settings: Window, exponents, constants and border.
    means: Computes the window means: `window_means`,
      `window_means_by_products` or `window_means_by_shifts`. Affects speed
      only.

  Returns:
    `[B]`, one value per example, in at least float32; 0 for equal maps, up to
    the epsilon of the settings.

  Raises:
    ValueError: If the shapes differ, or a map is smaller than the window and
      the border is `valid`.

  References:
    De Rijk, Schneider, Cordts and Gavrila, `Structural Knowledge Distillation
    for Object Detection <https://arxiv.org/abs/2211.13133>`_, 2022. The mean
    over the batch is kornia's `ssim_loss`.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = jnp.linspace(0.0, 1.0, 64).reshape(1, 8, 8, 1)
    >>> print(losses.ssim(student, student).round(4))
    [0.]
    >>> print(losses.ssim(student, 1 - student).round(2))
    [0.83]
  """
  if settings.exponents == (1, 1, 1):
    values = _dissimilarity(*_fraction(student, teacher, settings, means))
  else:
    similarity = ssim_map(student, teacher, settings, means=means)
    values = jnp.clip((1 - similarity) / 2, 0, 1)
  return jnp.mean(values, axis=(1, 2, 3))


def ssim_map(
  student: jax.Array,
  teacher: jax.Array,
  settings: SsimSettings = SsimSettings(),
  *,
  means: WindowMeans = window_means,
) -> jax.Array:
  r"""Computes the structural similarity at each pixel of each channel.

  .. math::
    \mathrm{SSIM} = l^\alpha c^\beta s^\gamma

  with the terms of `ssim_components`. For exponents of 1 it is evaluated
  without square roots, as

  .. math::
    \frac{(2 \mu_s \mu_t + C_1)(2 \sigma_{st} + C_2)}
      {(\mu_s^2 + \mu_t^2 + C_1)(\sigma_s^2 + \sigma_t^2 + C_2) + \epsilon} .

  Args:
    student: Feature maps, float `[B, H, W, C]`.
    teacher: Feature maps of the same shape. Receive a gradient, too.
    settings: Window, exponents, constants and border.
    means: Computes the window means, as in `ssim`.

  Returns:
    `[B, H, W, C]`, or `window - 1` pixels less in height and width with
    `border='valid'`; in [-1, 1] up to rounding and in at least float32.

  Raises:
    ValueError: If the shapes differ, or a map is smaller than the window and
      the border is `valid`.

  References:
    Wang, Bovik, Sheikh and Simoncelli, `Image Quality Assessment
    <https://doi.org/10.1109/TIP.2003.819861>`_, 2004.
  """
  if settings.exponents == (1, 1, 1):
    numerator, denominator = _fraction(student, teacher, settings, means)
    return numerator / denominator
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
  r"""Computes luminance, contrast and structure, without their exponents.

  .. math::
    l = \frac{2 \mu_s \mu_t + C_1}{\mu_s^2 + \mu_t^2 + C_1}, \quad
    c = \frac{2 \sigma_s \sigma_t + C_2}{\sigma_s^2 + \sigma_t^2 + C_2}, \quad
    s = \frac{\sigma_{st} + C_2 / 2}{\sigma_s \sigma_t + C_2 / 2}

  with the means :math:`\mu`, standard deviations :math:`\sigma` and covariance
  of each channel under the window. Variances are increased by 1e-12 before
  their square root.

  Args:
    student: Feature maps, float `[B, H, W, C]`.
    teacher: Feature maps of the same shape. Receive a gradient, too.
    settings: Window, constants and border.
    means: Computes the window means, as in `ssim`.

  Returns:
    The terms at each pixel, shaped as the result of `ssim_map`.

  Raises:
    ValueError: If the shapes differ, or a map is smaller than the window and
      the border is `valid`.
  """
  moments = _window_moments(student, teacher, settings, means)
  c1, c2 = settings.constants
  deviation_s = _safe_root(moments.covariance(0, 0))
  deviation_t = _safe_root(moments.covariance(1, 1))
  product = deviation_s * deviation_t
  numerator, denominator = moments.luminance(c1)
  return SsimComponents(
    numerator / denominator,
    (2 * product + c2) / (deviation_s**2 + deviation_t**2 + c2),
    (moments.covariance(0, 1) + c2 / 2) / (product + c2 / 2),
  )


def _fraction(
  student: jax.Array,
  teacher: jax.Array,
  settings: SsimSettings,
  means: WindowMeans,
) -> tuple[jax.Array, jax.Array]:
  """Returns numerator and denominator of SSIM for exponents of 1.

  It needs no square roots, and one window sum for both variances.
  """
  moments = _window_moments(student, teacher, settings, means)
  c1, c2 = settings.constants
  numerator, denominator = moments.luminance(c1)
  numerator = numerator * (2 * moments.covariance(0, 1) + c2)
  denominator = denominator * (moments.sum_of_variances() + c2)
  return numerator, denominator + settings.epsilon


@jax.custom_jvp
def _dissimilarity(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
  """Computes `clip((1 - numerator / denominator) / 2, 0, 1)`."""
  # Clipping before the division leaves the quotient as the only map to store.
  difference = jnp.clip(denominator - numerator, 0, 2 * denominator)
  return difference / (2 * denominator)


@_dissimilarity.defjvp
def _dissimilarity_jvp(
  primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  """Computes value and derivative while storing two maps.

  The rules of JAX for a quotient and a clip store four.
  """
  numerator, denominator = primals
  value, inverse = _dissimilarity(numerator, denominator), 1 / denominator
  change = ((0.5 - value) * tangents[1] - 0.5 * tangents[0]) * inverse
  inside = (value > 0) & (value < 1)
  return value, jnp.where(inside, change, jnp.zeros_like(change))


class _WindowMoments(NamedTuple):
  """Moments of two maps under the window, relative to the mean of each channel.

  Variances are differences of squares, which lose fewer digits for numbers
  around zero. The centers cancel in them, so they need no gradient.
  """

  maps: tuple[jax.Array, ...]  # both maps minus their centers
  centers: tuple[jax.Array, ...]
  offsets: tuple[jax.Array, ...]  # window means of `maps`
  blur: Callable[[jax.Array], jax.Array]

  def covariance(self, i: int, j: int) -> jax.Array:
    """Computes the covariance of maps i and j under the window."""
    product = self.blur(self.maps[i] * self.maps[j])
    return product - self.offsets[i] * self.offsets[j]

  def sum_of_variances(self) -> jax.Array:
    """Computes the sum of both variances from one window sum."""
    squares = self.blur(self.maps[0] ** 2 + self.maps[1] ** 2)
    return squares - (self.offsets[0] ** 2 + self.offsets[1] ** 2)

  def luminance(self, c1: float) -> tuple[jax.Array, jax.Array]:
    """Computes numerator and denominator of the luminance term."""
    x, y = (o + c for o, c in zip(self.offsets, self.centers))
    return 2 * x * y + c1, x**2 + y**2 + c1


def _window_moments(
  student: jax.Array,
  teacher: jax.Array,
  settings: SsimSettings,
  means: WindowMeans,
) -> _WindowMoments:
  """Computes the moments of both maps in full precision."""
  pair = (full_precision(student), full_precision(teacher))
  if pair[0].shape != pair[1].shape or pair[0].ndim != 4:
    raise ValueError(
      'ssim needs maps [B, H, W, C] of one shape, got student '
      f'{pair[0].shape} and teacher {pair[1].shape}.'
    )
  weights = gaussian_window(settings.window, settings.sigma)

  def blur(maps: jax.Array) -> jax.Array:
    return means(maps, weights, settings.border)

  centers = tuple(
    jax.lax.stop_gradient(jnp.mean(x, axis=(1, 2), keepdims=True)) for x in pair
  )
  maps = tuple(x - center for x, center in zip(pair, centers))
  return _WindowMoments(maps, centers, tuple(blur(x) for x in maps), blur)


def _safe_root(variance: jax.Array) -> jax.Array:
  """Computes a square root whose gradient is finite at zero."""
  return jnp.sqrt(jnp.maximum(variance, 0) + _ROOT_EPSILON)
