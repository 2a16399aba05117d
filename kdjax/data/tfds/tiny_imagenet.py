"""TFDS builder of Tiny ImageNet, which TFDS itself does not have.

Imports TensorFlow Datasets but not TensorFlow.
"""

import io
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tensorflow_datasets.core import utils
from tensorflow_datasets.core.download import checksums

from kdjax.data.tfds.archives import open_zip

URL = 'http://cs231n.stanford.edu/tiny-imagenet-200.zip'
_ROOT = 'tiny-imagenet-200/'

Rows = list[tuple[str, str]]  # names of images in the archive, and classes


class TinyImagenet(tfds.core.GeneratorBasedBuilder):
  """200 classes of ImageNet at 64x64, 500 training and 50 test images each.

  The test images are those of the archive's validation split: its own 10,000
  test images have no public labels and are left out. Class indices follow the
  order of the WordNet ids, as in a folder of classes. Images are stored as the
  original JPEG files; some are gray.

  TFDS registers no checksum of the archive. Its size and SHA-256 are those that
  public repositories which pin this file agree on.
  """

  info: Any

  VERSION = tfds.core.Version('1.0.0')
  urls = (URL,)
  url_infos: ClassVar = {
    URL: checksums.UrlInfo(
      size=utils.Size(248100043),
      checksum=(
        '6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821'
      ),
      filename='tiny-imagenet-200.zip',
    )
  }

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description='200 classes of ImageNet, 64x64.',
      features=tfds.features.FeaturesDict(
        {
          'id': tfds.features.Text(),
          'image': tfds.features.Image(
            shape=(64, 64, 3), encoding_format='jpeg'
          ),
          'label': tfds.features.ClassLabel(),
        }
      ),
      supervised_keys=('image', 'label'),
      homepage='http://cs231n.stanford.edu/',
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    path = pathlib.Path(dl_manager.download(URL))
    classes, train, validation = read_index(path)
    self.info.features['label'].names = classes
    return {
      'train': self._generate_examples(path, train),
      'validation': self._generate_examples(path, validation),
    }

  def _generate_examples(
    self, path: pathlib.Path, rows: Rows
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    with open_zip(path) as archive:
      for i, (name, label) in enumerate(rows):
        yield (
          i,
          {
            'id': f'{i:06d}',
            'image': io.BytesIO(archive.read(name)),
            'label': label,
          },
        )


def read_index(path: pathlib.Path) -> tuple[list[str], Rows, Rows]:
  """Lists the classes, training images and validation images of the archive.

  Training images are `train/CLASS/images/*.JPEG`; validation images are in
  `val/images`, and `val/val_annotations.txt` has the class of each.

  Args:
    path: The .zip archive.

  Returns:
    Class names, and pairs of image name and class name of both splits.

  Raises:
    ValueError: If the archive is damaged, or lacks a file that it names.
  """
  with open_zip(path) as archive:
    names = set(archive.namelist())
    classes = sorted(_text(archive, 'wnids.txt').split())
    annotations = [
      line.split('\t')[:2]
      for line in _text(archive, 'val/val_annotations.txt').splitlines()
      if line
    ]
  known = set(classes)
  train = sorted(
    (name, parts[2])
    for name in names
    if len(parts := name.split('/')) == 5
    and parts[1] == 'train'
    and parts[2] in known
    and parts[3] == 'images'
    and parts[4]
  )
  validation = [
    (f'{_ROOT}val/images/{image}', label) for image, label in annotations
  ]
  missing = [name for name, _ in validation if name not in names]
  missing += sorted(known - {label for _, label in train})
  missing += sorted({label for _, label in validation} - known)
  if missing or not validation:
    raise ValueError(
      f'{path} is not laid out like Tiny ImageNet: it lacks '
      f'{", ".join(missing[:3]) or "annotations"}; delete it and run again.'
    )
  return classes, train, validation


def _text(archive: zipfile.ZipFile, name: str) -> str:
  return archive.read(_ROOT + name).decode()
