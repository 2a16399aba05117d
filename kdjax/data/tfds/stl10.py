"""TFDS's builder of STL-10, without TensorFlow; see `kdjax.data.tfds.cifar`."""

import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.datasets.stl10 import stl10_dataset_builder as stl10

from kdjax.data.tfds.archives import read_tar
from kdjax.data.tfds.ten_classes import dataset_info

_SPLITS = ('train', 'test')


class Stl10(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """TFDS's `stl10` without its 100,000 unlabeled images.

  What is prepared is therefore kept apart from TFDS's own, as `no_extra`.
  """

  info: Any

  VERSION = stl10.Builder.VERSION
  url_infos = stl10.Builder.url_infos  # sizes and checksums
  BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name='no_extra')]
  urls = (stl10.URL,)

  def _info(self) -> tfds.core.DatasetInfo:
    return dataset_info(
      self,
      'STL-10, its labeled images, 96x96.',
      size=96,
      homepage='http://ai.stanford.edu/~acoates/stl10/',
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    archive = pathlib.Path(dl_manager.download(stl10.URL))
    parts = [f'{split}_{part}.bin' for split in _SPLITS for part in 'Xy']
    files = read_tar(archive, 'stl10_binary/', ('class_names.txt', *parts))
    names = files['class_names.txt'].decode().split()
    self.info.features['label'].names = names
    return {
      split: self._generate_examples(
        split, files[f'{split}_X.bin'], files[f'{split}_y.bin']
      )
      for split in _SPLITS
    }

  def _generate_examples(
    self, prefix: str, pixels: bytes, labels: bytes
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    # Stored as planes of red, green and blue, column by column.
    planes = np.frombuffer(pixels, np.uint8).reshape(-1, 3, 96, 96)
    images = planes.transpose(0, 3, 2, 1)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
      yield (
        i,
        {
          'id': f'{prefix}_{i:05d}',
          'image': Image.fromarray(np.ascontiguousarray(image)),
          'label': label - 1,  # stored from 1
        },
      )
