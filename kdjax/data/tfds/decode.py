"""Decodes prepared datasets into arrays; imports TFDS but not TensorFlow."""

import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from kdjax.data.images import EncodedImage, Size
from kdjax.data.tfds.cache import Arrays
from kdjax.data.tfds.files import ENCODED, Example


def decode(folder: pathlib.Path, size: Size | None = None) -> Arrays:
  """Decodes all training and test images of a prepared dataset.

  The `validation` split is the test split if there is one, because then the
  labels of `test` are secret.

  Args:
    folder: Folder of one version of a dataset, in a format with random access
      (array_record) or in TFDS's default (tfrecord).
    size: Height and width that images are resized to (default: their own).

  Returns:
    `train_images`, `test_images` uint8 `[N, H, W, C]`, and `train_labels`,
    `test_labels` int32 `[N]`.

  Raises:
    RuntimeError, ValueError, OSError: If files are damaged, missing or in
      another format.
  """
  builder: Any = tfds.builder_from_directory(folder)
  mode = 'L' if builder.info.features['image'].shape[-1] == 1 else 'RGB'
  arrays = {}
  for split in ('train', 'test'):
    secret = split == 'test' and 'validation' in builder.info.splits
    stored = 'validation' if secret else split
    examples = _examples(builder, stored)
    if 'id' in examples[0]:
      examples.sort(key=lambda example: example['id'])
    # Threads are no faster: for such small images they wait for the GIL.
    arrays[f'{split}_images'] = np.stack(
      [
        _pixels(example['image'], f'image {row} of {stored}', mode, size)
        for row, example in enumerate(examples)
      ]
    )
    labels = [example['label'] for example in examples]
    arrays[f'{split}_labels'] = np.array(labels, np.int32)
  return arrays


def _examples(builder: Any, split: str) -> list[Example]:
  info = builder.info
  if info.file_format == tfds.core.FileFormat.TFRECORD:
    # The usual format of people who have TensorFlow, and which TFDS reads only
    # with it.
    return [
      info.features.deserialize_example_np(record, decoders=ENCODED)
      for path in info.splits[split].filepaths
      for record in tfrecords(pathlib.Path(path))
    ]
  source = builder.as_data_source(split, decoders=ENCODED)
  return list(source.__getitems__(range(len(source))))


def tfrecords(path: pathlib.Path) -> Iterator[bytes]:
  """Yields the records of a TFRecord file, without verifying checksums.

  A record is stored as its length (little-endian uint64), a checksum of four
  bytes, the record itself, and another checksum of four bytes.

  Args:
    path: The file.

  Raises:
    ValueError: If the file ends within a record.
  """
  content = path.read_bytes()
  start = 0
  while start < len(content):
    header = content[start : start + 8]
    length = struct.unpack('<Q', header)[0] if len(header) == 8 else 0
    end = start + 12 + length
    if len(content) < end + 4:
      raise ValueError(f'{path} is truncated.')
    yield content[start + 12 : end]
    start = end + 4


def _pixels(
  content: bytes, name: str, mode: str, size: Size | None
) -> np.ndarray:
  # In a dataset of color images some may be gray.
  image = EncodedImage(content, name)
  decoded = image.decode_resized(size or image.size, mode)
  pixels = np.asarray(decoded)
  return pixels if pixels.ndim == 3 else pixels[..., None]
