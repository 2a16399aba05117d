"""The constants that a network's images were normalised with, as data."""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from kdjax.convert import safetensors_files


class Normalization(NamedTuple):
  """Per channel, of images in [0, 1]: subtracted, then divided by."""

  mean: tuple[float, ...]
  std: tuple[float, ...]


_IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# What published weights were trained with, by the beginning of the network's
# name. RepDistiller's are those of `kdjax.data`'s CIFAR sets already.
_PUBLISHED = {
  'cifar10_resnet': _IMAGENET,
  'cifar100_resnet': Normalization(
    (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
  ),
  'imagenet_': _IMAGENET,
  # timm's `augreg` weights; DeiT's have ImageNet's.
  'vit_': Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def normalization(
  path: str | os.PathLike[str] | None,
  network: str,
  *,
  default: Normalization,
  mean: tuple[float, ...] = (),
  std: tuple[float, ...] = (),
) -> Normalization:
  """What the images of a network with weights from a file are normalised with.

  That is `mean` and `std` if they are given; or what a run folder, or a
  safetensors file written here, says of itself; or what published weights of
  that network were trained with; or `default`.

  Args:
    path: A file or folder that `read` takes; `None` if the network is trained.
    network: Its name.
    default: Those of the data set.
    mean: Those that the user gave; empty if not.
    std: Those that the user gave.

  Raises:
    ValueError: If there are not as many values as `default` has channels, or a
      divisor is not positive; or if what the file says cannot be read.
  """
  if mean or std:
    return _checked('the command', mean, std, default)
  if path is None:
    return default
  said = described(path)
  if 'mean' in said and 'std' in said:
    return _checked(path, said['mean'], said['std'], default)
  for prefix, constants in _PUBLISHED.items():
    if network.startswith(prefix):
      return _checked(network, *constants, default)
  return default


def described(path: str | os.PathLike[str]) -> Mapping[str, Any]:
  """What a run folder or a safetensors file written here says of itself.

  The keys are those of a run's `config.json`: `network`, `num_classes`,
  `image_shape`, `mean`, `std`; empty for files that say nothing.

  Raises:
    ValueError: If what it says is not JSON.
  """
  path = pathlib.Path(path).expanduser()
  if path.is_dir():
    inside = path / 'config.json'
    config = inside if inside.exists() else path.parent / 'config.json'
    return _parse(config.read_bytes(), config) if config.exists() else {}
  if not path.exists():
    return {}
  with path.open('rb') as file:
    start = file.read(16)
  if not safetensors_files.looks_so(start):
    return {}
  try:
    about = safetensors_files.metadata(path).get('kdjax', '{}')
  except ValueError as error:
    raise ValueError(f'{path} cannot be read: {error}.') from None
  return _parse(about, path)


def _checked(
  source: Any, mean: Any, std: Any, default: Normalization
) -> Normalization:
  try:
    found = Normalization(tuple(map(float, mean)), tuple(map(float, std)))
  except (TypeError, ValueError, OverflowError):
    found = Normalization((), ())
  channels = len(default.mean)
  counted = len(found.mean) == len(found.std) == channels
  finite = all(map(math.isfinite, (*found.mean, *found.std)))
  if not counted or not finite or min(found.std) <= 0:
    raise ValueError(
      f'mean and std need {channels} numbers each, one per channel of the '
      f'images, and a positive std; {source} has mean {mean} and std {std}.'
    )
  return found


def _parse(text: str | bytes, path: pathlib.Path) -> Mapping[str, Any]:
  try:
    found = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{path} is not readable JSON: {error}.') from error
  return found if isinstance(found, dict) else {}
