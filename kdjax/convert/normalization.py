"""Normalization constants of the images that a network was trained on."""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from kdjax.convert import safetensors_files
from kdjax.paths import local_path


class Normalization(NamedTuple):
  """Normalization of images in [0, 1].

  Attributes:
    mean: Per-channel mean, which is subtracted.
    std: Per-channel divisor of the difference.
  """

  mean: tuple[float, ...]
  std: tuple[float, ...]


_IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Constants of published weights, by the prefix of the network's name.
# RepDistiller's are those of `kdjax.data`'s CIFAR datasets already.
_PUBLISHED = {
  'cifar10_resnet': _IMAGENET,
  'cifar100_resnet': Normalization(
    (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
  ),
  'imagenet_': _IMAGENET,
  # timm's `augreg` weights; DeiT's have ImageNet's constants.
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
  """Returns the normalization for a network with weights from a file.

  In this order: `mean` and `std`; the metadata of a run folder, or of a
  safetensors file written by this library; the constants of published weights
  of that network; `default`.

  Args:
    path: File or folder for `kdjax.convert.read` (`None`: the network is
      trained, with `default`).
    network: Name of the network.
    default: Constants of the dataset.
    mean: Constants given by the user (default: none).
    std: Constants given by the user (default: none).

  Returns:
    One mean and one standard deviation per channel.

  Raises:
    ValueError: If there is not one value per channel of `default`, if a divisor
      is not positive, or if the metadata cannot be read.
  """
  if mean or std:
    return _checked('the command', mean, std, default)
  if path is None:
    return default
  about = described(path)
  if 'mean' in about and 'std' in about:
    return _checked(path, about['mean'], about['std'], default)
  for prefix, constants in _PUBLISHED.items():
    if network.startswith(prefix):
      return _checked(network, *constants, default)
  return default


def described(path: str | os.PathLike[str]) -> Mapping[str, Any]:
  """Returns the metadata of a run folder or of a safetensors file.

  Args:
    path: File or folder for `kdjax.convert.read`.

  Returns:
    Keys of a run's `config.json`, among them `network`, `num_classes`,
    `image_shape`, `mean` and `std`; empty for files without metadata of this
    library.

  Raises:
    ValueError: If the metadata is not JSON.
  """
  path = local_path(path)
  if path.is_dir():
    inside = path / 'config.json'
    config = inside if inside.exists() else path.parent / 'config.json'
    return _parse(config.read_bytes(), config) if config.is_file() else {}
  if not path.is_file():  # nor a pipe, which could wait for ever
    return {}
  with path.open('rb') as file:
    start = file.read(16)
  if not safetensors_files.starts_like_one(start):
    return {}
  try:
    about = safetensors_files.metadata(path).get('kdjax', '{}')
  except ValueError as error:
    raise ValueError(f'{path} cannot be read: {error}.') from None
  return _parse(about, path)


def _checked(
  source: Any, mean: Any, std: Any, default: Normalization
) -> Normalization:
  """Constants of a source, checked against the number of channels."""
  try:
    constants = Normalization(tuple(map(float, mean)), tuple(map(float, std)))
  except (TypeError, ValueError, OverflowError):
    constants = Normalization((), ())
  channels = len(default.mean)
  complete = len(constants.mean) == len(constants.std) == channels
  finite = all(map(math.isfinite, (*constants.mean, *constants.std)))
  if not complete or not finite or min(constants.std) <= 0:
    advice = {(1, 3): ' Give --channels=rgb.', (3, 1): ' Give --channels=gray.'}
    raise ValueError(
      f'mean and std need {channels} numbers each, one per channel of the '
      f'images, and a positive std; {source} has mean {mean} and std {std}.'
      + advice.get((channels, len(constants.mean)), '')
    )
  return constants


def _parse(text: str | bytes, path: pathlib.Path) -> Mapping[str, Any]:
  """Parses a JSON object; other JSON values count as empty."""
  try:
    value = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{path} is not readable JSON: {error}.') from error
  return value if isinstance(value, dict) else {}
