"""SSIM: the structure of feature maps, stage by stage."""

import dataclasses
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.features import NetworkSpec
from kdjax.methods.base import (
  Method,
  Updates,
  check_choice,
  check_not_negative,
  check_positive,
)
from kdjax.methods.linear import apply_linear, init_linear

_CHOICES = {
  'compare': ('ssim', 'l1', 'l2'),
  'extent': losses.EXTENTS,
  'adapter': ('if_needed', 'always', 'never'),
  'resize': ('never', 'smaller'),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ssim(Method):
  """Feature maps alike in local mean, contrast and structure.

  Maps of both networks, the student's behind a trained 1×1 convolution where
  the channels differ, are rescaled to [0, 1] and compared by their structural
  similarity; the mean of each stage, the sum over the stages. De Rijk,
  Schneider, Cordts and Gavrila, Structural Knowledge Distillation for Object
  Detection, 2022, https://arxiv.org/abs/2211.13133; see docs/ssim.md.

  Attributes:
    weight: λ, of the sum over the stages.
    stages: Which of the student's stages are compared, in the order of the
      field's tables; negative ones count from the last.
    teacher_stages: The teacher's, one for each; the same without.
    compare: `ssim`, or mean absolute or squared differences of the same maps.
    extent: Over what minimum and maximum are taken; see
      `losses.min_max_rescale`. `none` is for maps that lie in the data range.
    stop_gradient_range: Treats minimum and maximum as constants.
    epsilon: Added to the range of a map.
    adapter: Whether the student's maps pass through a 1×1 convolution.
    resize: `smaller` averages the larger of two maps over blocks, to the
      smaller's height and width.
    similarity: Window, exponents, constants and border of the SSIM.
  """

  weight: float = 4.0
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
    check_not_negative(self, 'weight')
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
    """Stages of student and teacher that belong together."""
    return list(zip(self.stages, self.teacher_stages or self.stages))

  def init(self, key, student, teacher):
    """A 1×1 convolution for each stage that has one; see `Method.init`."""
    params = {}
    for place, (mine, theirs) in enumerate(self.pairs):
      shapes = (_shape(student, mine), _shape(teacher, theirs))
      self._check_pair((student, teacher), (mine, theirs), shapes)
      if self._adapts(*(shape[-1] for shape in shapes)):
        channels = (shapes[0][-1], shapes[1][-1])
        key_of_stage = jax.random.fold_in(key, place)
        params[str(place)] = init_linear(key_of_stage, *channels)
    return {'params': params, 'state': {}}

  def terms(self, variables, student, teacher, batch, context):
    """`ssim`: weight · sum over the stages; see `Method.terms`."""
    del batch, context
    total = 0.0
    for place, (mine, theirs) in enumerate(self.pairs):
      maps = student.features.stages[mine]
      layer = variables['params'].get(str(place))
      if layer is not None:
        maps = apply_linear(layer, maps)
      wanted = jax.lax.stop_gradient(teacher.features.stages[theirs])
      total += self.distance(maps, wanted).mean()
    return {'ssim': self.weight * total}, Updates()

  def distance(self, student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Of maps `[B, H, W, C]` of as many channels: `[B]`, without the weight."""
    student, teacher = (
      losses.min_max_rescale(
        maps,
        extent=self.extent,
        epsilon=self.epsilon,
        stop_gradient_range=self.stop_gradient_range,
      )
      for maps in _averaged(student, teacher)
    )
    if self.compare == 'l1':
      return losses.mean_absolute_error(student, teacher)
    if self.compare == 'l2':
      return losses.mean_squared_error(student, teacher)
    return losses.ssim(student, teacher, self.similarity)

  def _adapts(self, narrow: int, wide: int) -> bool:
    if self.adapter == 'if_needed':
      return narrow != wide
    return self.adapter == 'always'

  def _check_pair(self, networks, stages, shapes):
    """Raises a `ValueError` if two maps cannot be compared."""
    named = ' and '.join(
      f'stage {stage} of {network.name} ({" x ".join(map(str, shape))})'
      for network, stage, shape in zip(networks, stages, shapes)
    )
    hint = '(beside another method --method.ssim...)'
    if shapes[0][-1] != shapes[1][-1] and self.adapter == 'never':
      raise ValueError(
        f'ssim cannot compare {named} without an adapter: their channels '
        f'differ. Give --method.adapter=if_needed {hint}.'
      )
    if shapes[0][:2] != shapes[1][:2] and self.resize == 'never':
      raise ValueError(
        f'ssim compares maps of one height and width, got {named}. Name '
        'stages that fit by --method.stages and --method.teacher_stages, or '
        f'give --method.resize=smaller {hint}.'
      )
    if not all(size % least == 0 for size, least in _sizes(*shapes)):
      raise ValueError(
        f'ssim averages the larger map over whole blocks, got {named}, whose '
        'sizes do not divide each other. Name stages that fit by '
        f'--method.stages and --method.teacher_stages {hint}.'
      )
    if self.compare == 'ssim' and self.similarity.border == 'valid':
      smallest = min(min(shape[:2]) for shape in shapes)
      if smallest < self.similarity.window:
        raise ValueError(
          f'A window of {self.similarity.window} fits nowhere into {named} '
          'with border=valid; give --method.similarity.window or '
          f'--method.similarity.border=reflect {hint}.'
        )


def _sizes(*shapes) -> list[tuple[int, int]]:
  """Each height and width, and the least of all heights or widths."""
  return [
    (shape[axis], min(other[axis] for other in shapes))
    for shape in shapes
    for axis in (0, 1)
  ]


def _averaged(*maps: jax.Array) -> Iterator[jax.Array]:
  """Each in the least height and width, by means over blocks."""
  height, width = (min(x.shape[axis] for x in maps) for axis in (1, 2))
  for x in maps:
    if x.shape[1:3] != (height, width):
      batch, rows, columns, channels = x.shape
      blocks = (rows // height, columns // width)
      x = x.reshape(batch, height, blocks[0], width, blocks[1], channels)
      x = x.mean((2, 4), dtype=jnp.promote_types(x.dtype, jnp.float32))
    yield x


def _shape(network: NetworkSpec, stage: int) -> tuple[int, int, int]:
  """Height, width and channels of a stage.

  Raises:
    ValueError: If there is no such stage, or it is no map.
  """
  stages = network.features.stages
  if not -len(stages) <= stage < len(stages):
    raise ValueError(
      f'{network.name} has {len(stages)} stages, 0 to {len(stages) - 1} or '
      f'-{len(stages)} to -1; ssim was asked for {stage}.'
    )
  maps = stages[stage]
  if maps is None or maps.ndim != 4:
    raise ValueError(
      f'ssim compares maps [B, H, W, C]; stage {stage} of {network.name} is '
      f'{None if maps is None else maps.shape}.'
    )
  return maps.shape[1:]
