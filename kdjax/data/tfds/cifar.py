"""TFDS's builders of CIFAR-10 and CIFAR-100, without TensorFlow.

Like all builders of this package they keep TFDS's name, version, features,
addresses and checksums, so that they prepare what TFDS would have prepared, but
read the original files with NumPy and encode images with Pillow.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from tensorflow_datasets.image_classification import cifar

from kdjax.data.tfds.archives import read_tar

_PIXELS = 32 * 32 * 3


class _BinaryFiles:
  """Reads the binary CIFAR archives; precedes TFDS's class among the bases."""

  _cifar_info: Any
  info: Any

  @property
  def urls(self) -> tuple[str, ...]:
    """Addresses of the original files."""
    return (self._cifar_info.url,)

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    layout = self._cifar_info
    archive = pathlib.Path(dl_manager.download(layout.url))
    names = (*layout.label_files, *layout.train_files, *layout.test_files)
    files = read_tar(archive, layout.prefix, names)
    for key, name in zip(layout.label_keys, layout.label_files):
      classes = files[name].decode().split('\n')
      self.info.features[key].names = [each for each in classes if each]
    splits = {'train': layout.train_files, 'test': layout.test_files}
    return {
      split: self._generate_examples(
        split, b''.join(files[name] for name in names)
      )
      for split, names in splits.items()
    }

  def _generate_examples(
    self, prefix: str, rows: bytes
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    keys = self._cifar_info.label_keys
    table = np.frombuffer(rows, np.uint8).reshape(-1, len(keys) + _PIXELS)
    labels = table[:, : len(keys)].tolist()
    # Stored as planes of red, green and blue.
    images = table[:, len(keys) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    for i, image in enumerate(np.ascontiguousarray(images)):
      example = dict(zip(keys, labels[i]))
      example['id'] = f'{prefix}_{i:05d}'
      example['image'] = Image.fromarray(image)
      yield i, example


class Cifar10(_BinaryFiles, cifar.Cifar10, skip_registration=True):
  """TFDS's `cifar10`."""


class Cifar100(_BinaryFiles, cifar.Cifar100, skip_registration=True):
  """TFDS's `cifar100`."""
