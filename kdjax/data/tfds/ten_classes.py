"""The TFDS description that STL-10 and SVHN share."""

from typing import Any

import tensorflow_datasets as tfds


def dataset_info(
  builder: Any, description: str, *, size: int, homepage: str
) -> tfds.core.DatasetInfo:
  """Returns TFDS's description of square color images of ten classes.

  Args:
    builder: TFDS's builder of the dataset.
    description: One sentence.
    size: Height and width of the images.
    homepage: Address of the dataset.
  """
  return tfds.core.DatasetInfo(
    builder=builder,
    description=description,
    features=tfds.features.FeaturesDict(
      {
        'id': tfds.features.Text(),
        'image': tfds.features.Image(shape=(size, size, 3)),
        'label': tfds.features.ClassLabel(num_classes=10),
      }
    ),
    supervised_keys=('image', 'label'),
    homepage=homepage,
  )
