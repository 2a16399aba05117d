"""Reads prepared sets into arrays; imports TFDS, though not TensorFlow."""

import io
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from kdjax.data.resize import Size, resize
from kdjax.data.tfds.cache import Arrays

Example = dict[str, Any]


def decode(folder: pathlib.Path, size: Size | None = None) -> Arrays:
  """All training and test images and labels of a prepared set.

  A set whose test labels are secret is tested on its `validation` split.

  Args:
    folder: Of one version of one set, in a format with random access
      (array_record) or in TFDS's default (tfrecord).
    size: Height and width of the images; their own without.

  Raises:
    RuntimeError, ValueError, OSError: If files are damaged, missing or of
      another format.
  """
  builder: Any = tfds.builder_from_directory(folder)
  mode = 'L' if builder.info.features['image'].shape[-1] == 1 else 'RGB'
  arrays = {}
  for split in ('train', 'test'):
    hidden = split == 'test' and 'validation' in builder.info.splits
    examples = _examples(builder, 'validation' if hidden else split)
    if 'id' in examples[0]:
      examples.sort(key=lambda example: example['id'])
    # Threads were no faster: such small images keep the interpreter lock.
    arrays[f'{split}_images'] = np.stack(
      [_pixels(example, mode, size) for example in examples]
    )
    labels = [example['label'] for example in examples]
    arrays[f'{split}_labels'] = np.array(labels, np.int32)
  return arrays


def _examples(builder: Any, split: str) -> list[Example]:
  # Images stay encoded: TFDS's own decoding logs a request for OpenCV.
  decoders = {'image': tfds.decode.SkipDecoding()}
  info = builder.info
  if info.file_format == tfds.core.FileFormat.TFRECORD:
    # What people who have TensorFlow usually have; TFDS reads it only with it.
    return [
      info.features.deserialize_example_np(record, decoders=decoders)
      for path in info.splits[split].filepaths
      for record in tfrecords(pathlib.Path(path))
    ]
  source = builder.as_data_source(split, decoders=decoders)
  return list(source.__getitems__(range(len(source))))


def tfrecords(path: pathlib.Path) -> Iterator[bytes]:
  """Records of a TFRecord file; their checksums are not verified.

  Each is its length (little-endian uint64), four bytes of checksum, the bytes
  themselves, and four bytes of checksum.

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


def _pixels(example: Example, mode: str, size: Size | None) -> np.ndarray:
  with Image.open(io.BytesIO(example['image'])) as stored:
    # Of a set in colour some images may be grey.
    image = stored if stored.mode == mode else stored.convert(mode)
    pixels = np.asarray(resize(image, size) if size else image)
  return pixels if pixels.ndim == 3 else pixels[..., None]
