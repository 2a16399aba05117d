"""TFDS builder of scikit-learn's handwritten digits: nothing to download.

Imports TensorFlow Datasets but not TensorFlow; `kdjax.data.load('digits')`
imports this only when the dataset has to be prepared.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from sklearn import datasets, model_selection

TRAIN_IMAGES = 1000  # of 1,797


class Digits(tfds.core.GeneratorBasedBuilder):
  """1,797 digits of 8x8 gray levels, 1,000 to train on and 797 to test.

  The split is stratified and fixed. Source: the test part of E. Alpaydin and
  C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998, as
  `sklearn.datasets.load_digits` provides it.
  """

  VERSION = tfds.core.Version('1.0.0')
  urls = ()  # nothing is downloaded

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description='Handwritten digits of 8x8 pixels, from scikit-learn.',
      features=tfds.features.FeaturesDict(
        {
          'id': tfds.features.Text(),
          'image': tfds.features.Image(shape=(8, 8, 1)),
          'label': tfds.features.ClassLabel(names=list('0123456789')),
        }
      ),
      supervised_keys=('image', 'label'),
      homepage='https://doi.org/10.24432/C50P49',
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager
    images, labels = read_digits()
    train, test = model_selection.train_test_split(
      np.arange(len(labels)),
      train_size=TRAIN_IMAGES,
      stratify=labels,
      random_state=0,
    )
    return {
      name: self._generate_examples(name, images[rows], labels[rows])
      for name, rows in (('train', train), ('test', test))
    }

  def _generate_examples(
    self, prefix: str, images: np.ndarray, labels: np.ndarray
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, (image, label) in enumerate(zip(images, labels)):
      yield (
        i,
        {
          'id': f'{prefix}_{i:05d}',
          # TFDS encodes an array by TensorFlow but an image by Pillow.
          'image': Image.fromarray(image),
          'label': int(label),
        },
      )


def read_digits() -> tuple[np.ndarray, np.ndarray]:
  """Returns all digits in scikit-learn's order.

  Returns:
    Images uint8 `[1797, 8, 8]`, gray levels 0 … 16 scaled to 0 … 255, and
    labels `[1797]`.
  """
  levels, labels = datasets.load_digits(return_X_y=True)
  images = np.round(np.asarray(levels) * (255 / 16)).astype(np.uint8)
  return images.reshape(-1, 8, 8), np.asarray(labels)
