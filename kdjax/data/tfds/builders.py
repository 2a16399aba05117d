"""TFDS's builders of CIFAR, SVHN and STL-10, preparing without TensorFlow.

Imports TensorFlow Datasets, though not TensorFlow; see
`kdjax.data.tfds.prepared`. Each subclass keeps TFDS's name, version, features,
addresses and checksums, so that what it prepares is what TFDS would have
prepared, and reads the original files with NumPy (SciPy for SVHN) and encodes
them with Pillow.
"""

import pathlib
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.datasets.stl10 import stl10_dataset_builder as stl10
from tensorflow_datasets.datasets.svhn_cropped import (
  svhn_cropped_dataset_builder as svhn,
)
from tensorflow_datasets.image_classification import cifar

_PIXELS = 32 * 32 * 3


class _CifarFiles:
  """Reads the binary CIFAR archives; comes before TFDS's class."""

  _cifar_info: Any
  info: Any

  @property
  def urls(self) -> tuple[str, ...]:
    """What is downloaded."""
    return (self._cifar_info.url,)

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    about = self._cifar_info
    archive = pathlib.Path(dl_manager.download(about.url))
    wanted = (*about.label_files, *about.train_files, *about.test_files)
    files = read_archive(archive, about.prefix, wanted)
    for key, name in zip(about.label_keys, about.label_files):
      names = files[name].decode().split('\n')
      self.info.features[key].names = [name for name in names if name]
    splits = {'train': about.train_files, 'test': about.test_files}
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


class Cifar10(_CifarFiles, cifar.Cifar10, skip_registration=True):
  """TFDS's `cifar10`."""


class Cifar100(_CifarFiles, cifar.Cifar100, skip_registration=True):
  """TFDS's `cifar100`."""


class Stl10(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """TFDS's `stl10` without its 100,000 unlabelled images.

  What is prepared is therefore kept apart from TFDS's own, as `no_extra`.
  """

  info: Any

  VERSION = stl10.Builder.VERSION
  url_infos = stl10.Builder.url_infos  # sizes and checksums
  BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name='no_extra')]
  urls = (stl10.URL,)

  def _info(self) -> tfds.core.DatasetInfo:
    return _labelled_images(
      self,
      'STL-10, its labelled images, 96x96.',
      size=96,
      homepage='http://ai.stanford.edu/~acoates/stl10/',
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    archive = pathlib.Path(dl_manager.download(stl10.URL))
    splits = ('train', 'test')
    wanted = [f'{split}_{part}.bin' for split in splits for part in 'Xy']
    files = read_archive(archive, 'stl10_binary/', ('class_names.txt', *wanted))
    names = files['class_names.txt'].decode().split()
    self.info.features['label'].names = names
    return {
      split: self._generate_examples(
        split, files[f'{split}_X.bin'], files[f'{split}_y.bin']
      )
      for split in splits
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


class SvhnCropped(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """TFDS's `svhn_cropped` without its `extra` split.

  That split is another 531,131 images (1.3 GB) which no method here trains on.
  What is prepared is therefore kept apart from TFDS's own, as `no_extra`.
  """

  VERSION = svhn.Builder.VERSION
  url_infos = svhn.Builder.url_infos  # sizes and checksums
  BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name='no_extra')]
  urls = tuple(f'{svhn.URL}{split}_32x32.mat' for split in ('train', 'test'))

  def _info(self) -> tfds.core.DatasetInfo:
    return _labelled_images(
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


def _labelled_images(
  builder: Any, description: str, *, size: int, homepage: str
) -> tfds.core.DatasetInfo:
  """What TFDS is told of coloured squares of ten classes."""
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


def read_svhn(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Images uint8 `[N, 32, 32, 3]` and digits `[N]` of a file of SVHN.

  Raises:
    ValueError: If the file is damaged; it is named.
  """
  try:
    data = scipy.io.loadmat(path)
    images = np.ascontiguousarray(np.moveaxis(data['X'], -1, 0))
    labels = data['y'].ravel() % 10  # the digit 0 is stored as 10
    if images.shape != (len(labels), 32, 32, 3):
      raise ValueError(f'{len(labels)} labels of images {images.shape}')
  except Exception as error:  # of half a dozen kinds, by where it is cut
    raise ValueError(
      f'{path} is damaged ({error}); delete it and run again.'
    ) from None
  return images, labels


def read_archive(
  archive: pathlib.Path, prefix: str, names: tuple[str, ...]
) -> dict[str, bytes]:
  """Members of a downloaded .tar.gz, from where TFDS extracts it if it has.

  Args:
    archive: The file, in TFDS's download folder of the set.
    prefix: Folder inside the archive, with a slash at the end.
    names: Files in that folder.
  """
  extracted = archive.parent.parent / 'extracted' / f'TAR_GZ.{archive.name}'
  if (extracted / prefix).is_dir():
    return {name: (extracted / prefix / name).read_bytes() for name in names}
  files = {}
  try:
    with tarfile.open(archive, 'r:gz') as tar:
      for member in tar:
        name = member.name.removeprefix(prefix)
        if name in names and (content := tar.extractfile(member)) is not None:
          files[name] = content.read()
  except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
    raise ValueError(
      f'{archive} is damaged ({error}); delete it and run again.'
    ) from None
  if missing := set(names) - set(files):
    raise ValueError(
      f'{archive} holds no {prefix}{", ".join(sorted(missing))}.'
    )
  return files
