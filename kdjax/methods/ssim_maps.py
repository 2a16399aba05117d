"""Pairs of feature maps that SSIM compares: shapes, sizes and checks."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp

from kdjax.features import NetworkSpec

Shape = tuple[int, int, int]  # height, width and channels

_HINT = '(in a combination: --method.ssim...)'


def map_shape(network: NetworkSpec, stage: int) -> Shape:
  """Returns height, width and channels of a stage.

  Args:
    network: The network.
    stage: Index of the stage; negative ones count from the last.

  Raises:
    ValueError: If there is no such stage, or its output is not a feature map.
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
      f'ssim compares feature maps [B, H, W, C]; stage {stage} of '
      f'{network.name} is {None if maps is None else maps.shape}.'
    )
  return maps.shape[1:]


def describe(
  networks: tuple[NetworkSpec, NetworkSpec],
  stages: tuple[int, int],
  shapes: tuple[Shape, Shape],
) -> str:
  """Returns the names and shapes of two stages, for messages."""
  return ' and '.join(
    f'stage {stage} of {network.name} ({" x ".join(map(str, shape))})'
    for network, stage, shape in zip(networks, stages, shapes)
  )


def check_channels(names: str, shapes: tuple[Shape, Shape]) -> None:
  """Raises a `ValueError` if the numbers of channels differ."""
  if shapes[0][-1] != shapes[1][-1]:
    raise ValueError(
      f'ssim cannot compare {names} without an adapter: their channels '
      f'differ. Give --method.adapter=if_needed {_HINT}.'
    )


def check_equal_sizes(names: str, shapes: tuple[Shape, Shape]) -> None:
  """Raises a `ValueError` if heights or widths differ."""
  if shapes[0][:2] != shapes[1][:2]:
    raise ValueError(
      f'ssim compares feature maps of equal height and width, got {names}. '
      'Choose stages of equal size by --method.stages and '
      f'--method.teacher_stages, or give --method.resize=smaller {_HINT}.'
    )


def check_divisible_sizes(names: str, shapes: tuple[Shape, Shape]) -> None:
  """Raises a `ValueError` unless one size divides the other on each axis."""
  for sizes in list(zip(*shapes))[:2]:
    if max(sizes) % min(sizes):
      raise ValueError(
        f'ssim averages the larger feature map over whole blocks, got {names}, '
        'whose sizes do not divide each other. Choose other stages by '
        f'--method.stages and --method.teacher_stages {_HINT}.'
      )


def check_window(names: str, shapes: tuple[Shape, Shape], window: int) -> None:
  """Raises a `ValueError` if a map is smaller than a window without border."""
  if min(min(shape[:2]) for shape in shapes) < window:
    raise ValueError(
      f'A window of {window} pixels does not fit into {names} with '
      'border=valid; give --method.similarity.window or '
      f'--method.similarity.border=reflect {_HINT}.'
    )


def resize_to_smaller(*maps: jax.Array) -> Iterator[jax.Array]:
  """Yields each map in the smallest height and width, by means over blocks.

  Args:
    *maps: `[B, H, W, C]`; the sizes must divide each other.
  """
  height, width = (min(x.shape[axis] for x in maps) for axis in (1, 2))
  for x in maps:
    if x.shape[1:3] != (height, width):
      batch, rows, columns, channels = x.shape
      blocks = (rows // height, columns // width)
      x = x.reshape(batch, height, blocks[0], width, blocks[1], channels)
      x = x.mean((2, 4), dtype=jnp.promote_types(x.dtype, jnp.float32))
    yield x
