"""SSIM: structural similarity of feature maps, stage by stage."""

# pyright: reportUnknownMemberType=false

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.features import NetworkSpec
from kdjax.methods import ssim_maps
from kdjax.methods.base import Context, Method, TrainSpec, Updates
from kdjax.methods.linear import Layer, apply_linear, init_linear
from kdjax.methods.passes import Pass
from kdjax.methods.schedules import Weight, check_weight, value_at
from kdjax.methods.settings import check_choice, check_positive
from kdjax.typing import Batch, Terms, Variables

_CHOICES = {
  'compare': ('ssim', 'l1', 'l2'),
  'extent': losses.EXTENTS,
  'adapter': ('if_needed', 'always', 'never'),
  'resize': ('never', 'smaller'),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ssim(Method):
  r"""Distillation of the local structure of feature maps.

  Feature maps of both networks are rescaled to [0, 1] and compared by their
  structural similarity:

  .. math::
    \lambda \sum_{stages} \mathrm{mean} \bigl(
      \tfrac12 (1 - \mathrm{SSIM}(x, y)) \bigr) .

  The student's maps pass through a trained 1×1 convolution first where the
  numbers of channels differ. De Rijk, Schneider, Cordts and Gavrila, Structural
  Knowledge Distillation for Object Detection, 2022,
  https://arxiv.org/abs/2211.13133; see docs/ssim.md.

  Attributes:
    weight: Weight λ of the sum over the stages: a number, or pairs of an epoch,
      from 0, and the value from that epoch on.
    stages: Indices of the student's stages that are compared, the stem being 0;
      negative ones count from the last stage.
    teacher_stages: Indices of the teacher's stages, one for each of `stages`
      (default: those of `stages`).
    compare: Distance of the rescaled feature maps: `ssim`, or `l1` or
      `l2` for the mean absolute or squared difference.
    extent: Values that share a minimum and maximum when a feature map is
      rescaled: those of a `channel` of an image, of a `sample` (an image), or
      of the whole `batch`. `none` does not rescale, for feature maps that lie
      in the data range.
    stop_gradient_range: Whether minimum and maximum are constants in the
      gradient.
    epsilon: Constant added to the range, maximum minus minimum, of a feature
      map.
    adapter: Whether the student's feature maps pass through a trained 1×1
      convolution: `if_needed` where the numbers of channels differ, `always` or
      `never`.
    resize: Behavior if heights or widths differ: `never` is an error,
      `smaller` averages the larger feature map over blocks.
    similarity: Window, exponents, constants and border of the SSIM.
  """

  weight: Weight = 4.0
  stages: tuple[int, ...] = (-2, -1)
  teacher_stages: tuple[int, ...] = ()
  compare: Literal['ssim', 'l1', 'l2'] = 'ssim'
  extent: Literal['channel', 'sample', 'batch', 'none'] = 'channel'
  stop_gradient_range: bool = False
  epsilon: float = 1e-6
  adapter: Literal['if_needed', 'always', 'never'] = 'if_needed'
  resize: Literal['never', 'smaller'] = 'never'
  similarity: losses.SsimSettings = losses.SsimSettings()

  def __post_init__(self):
    """Checks the settings."""
    super().__post_init__()
    check_weight('Ssim', 'weight', self.weight)
    check_positive(self, 'epsilon')
    for setting, known in _CHOICES.items():
      check_choice(self, setting, known)
    if not self.stages:
      raise ValueError('ssim compares stages, got none; give --method.stages.')
    if self.teacher_stages and len(self.teacher_stages) != len(self.stages):
      raise ValueError(
        f'ssim compares {len(self.stages)} stages of the student '
        f'{self.stages} with as many of the teacher, got '
        f'{self.teacher_stages}.'
      )

  @property
  def pairs(self) -> list[tuple[int, int]]:
    """Indices of the stages of student and teacher that are compared."""
    return list(zip(self.stages, self.teacher_stages or self.stages))

  def init(
    self,
    key: jax.Array,
    student: NetworkSpec,
    teacher: NetworkSpec,
    data: TrainSpec,
  ) -> Variables:
    """Returns the 1×1 convolutions by index in `stages`; see `Method.init`."""
    del data
    params: dict[str, Layer] = {}
    networks = (student, teacher)
    for i, pair in enumerate(self.pairs):
      shapes = (
        ssim_maps.map_shape(student, pair[0]),
        ssim_maps.map_shape(teacher, pair[1]),
      )
      self._check(ssim_maps.describe(networks, pair, shapes), shapes)
      inputs, outputs = shapes[0][-1], shapes[1][-1]
      if self._adapts(inputs, outputs):
        stage_key = jax.random.fold_in(key, i)
        params[str(i)] = init_linear(stage_key, inputs, outputs)
    return {'params': params, 'state': {}}

  def terms(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    batch: Batch,
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Computes `ssim`, the weighted sum over stages; see `Method.terms`."""
    del batch
    total = jnp.zeros(())
    for i, (student_stage, teacher_stage) in enumerate(self.pairs):
      maps = student.features.stages[student_stage]
      layer = variables['params'].get(str(i))
      if layer is not None:
        maps = apply_linear(layer, maps)
      target = jax.lax.stop_gradient(teacher.features.stages[teacher_stage])
      total += self.distance(maps, target).mean()
    return {'ssim': value_at(self.weight, context.epoch) * total}, Updates()

  def distance(self, student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Computes the distance of the feature maps of each image.

    Args:
      student: `[B, H, W, C]`, after the 1×1 convolution.
      teacher: `[B, H', W', C]`.

    Returns:
      `[B]`, without the weight.
    """
    student, teacher = (
      losses.min_max_rescale(
        maps,
        extent=self.extent,
        epsilon=self.epsilon,
        stop_gradient_range=self.stop_gradient_range,
      )
      for maps in ssim_maps.resize_to_smaller(student, teacher)
    )
    if self.compare == 'l1':
      return losses.mean_absolute_error(student, teacher)
    if self.compare == 'l2':
      return losses.mean_squared_error(student, teacher)
    return losses.ssim(student, teacher, self.similarity)

  def _adapts(self, inputs: int, outputs: int) -> bool:
    """Returns whether feature maps pass through a 1×1 convolution."""
    if self.adapter == 'if_needed':
      return inputs != outputs
    return self.adapter == 'always'

  def _check(
    self, names: str, shapes: tuple[ssim_maps.Shape, ssim_maps.Shape]
  ) -> None:
    """Raises a `ValueError` if two feature maps cannot be compared."""
    if self.adapter == 'never':
      ssim_maps.check_channels(names, shapes)
    if self.resize == 'never':
      ssim_maps.check_equal_sizes(names, shapes)
    ssim_maps.check_divisible_sizes(names, shapes)
    if self.compare == 'ssim' and self.similarity.border == 'valid':
      ssim_maps.check_window(names, shapes, self.similarity.window)
