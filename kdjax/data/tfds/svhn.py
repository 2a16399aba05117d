"""TFDS's builder of SVHN, without TensorFlow; see `kdjax.data.tfds.cifar`."""

import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.datasets.svhn_cropped import (
  svhn_cropped_dataset_builder as svhn,
)

from kdjax.data.errors import damaged
from kdjax.data.tfds.ten_classes import dataset_info


class SvhnCropped(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """TFDS's `svhn_cropped` without its `extra` split.

  That split has 531,131 more images (1.3 GB), on which no method here trains.
  What is prepared is therefore kept apart from TFDS's own, as `no_extra`.
  """

  VERSION = svhn.Builder.VERSION
  url_infos = svhn.Builder.url_infos  # sizes and checksums
  BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name='no_extra')]
  urls = tuple(f'{svhn.URL}{split}_32x32.mat' for split in ('train', 'test'))

  def _info(self) -> tfds.core.DatasetInfo:
    return dataset_info(
      self,
      'Street View House Numbers, 32x32, train and test.',
      size=32,
      homepage=svhn.URL,
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    train, test = dl_manager.download(list(self.urls))
    return {
      'train': self._generate_examples('train', train),
      'test': self._generate_examples('test', test),
    }

  def _generate_examples(
    self, prefix: str, path: Any
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    images, labels = read_svhn(pathlib.Path(path))
    for i, (image, label) in enumerate(zip(images, labels.tolist())):
      yield (
        i,
        {
          'id': f'{prefix}_{i:06d}',
          'image': Image.fromarray(image),
          'label': label,
        },
      )


def read_svhn(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Reads an original file of SVHN.

  Args:
    path: A MATLAB file.

  Returns:
    Images uint8 `[N, 32, 32, 3]` and digits `[N]`.

  Raises:
    ValueError: If the file is damaged.
  """
  try:
    content = scipy.io.loadmat(path)
    images = np.ascontiguousarray(np.moveaxis(content['X'], -1, 0))
    labels = content['y'].ravel() % 10  # the digit 0 is stored as 10
    if images.shape != (len(labels), 32, 32, 3):
      raise ValueError(f'{len(labels)} labels of images {images.shape}')
  except Exception as error:  # of many types, depending on the damage
    raise damaged(path, error) from None
  return images, labels
