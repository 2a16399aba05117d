"""Large datasets as TFDS prepares them, with their labels.

Imports TFDS; TensorFlow only to prepare a dataset.
"""

import importlib.util
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from kdjax.data.errors import DataUnavailableError, not_prepared
from kdjax.data.files import LabeledFiles, open_regular
from kdjax.data.tfds import prepared
from kdjax.data.tfds.files import Example, TfdsFiles
from kdjax.messages import first_line
from kdjax.runtime import npz

_LABELS = 'kdjax_labels.npz'  # in the prepared folder, deleted along with it
_TFDS_NAMES = {
  'voc2007': 'voc/2007',
  'coco2014': 'coco/2014',
  'imagenet2012': 'imagenet2012',
}
# Training and test. VOC is trained on two splits, as in all publications; the
# test labels of COCO and ImageNet are secret.
_SPLITS = {
  'voc2007': (('train', 'validation'), ('test',)),
  'coco2014': (('train',), ('validation',)),
  'imagenet2012': (('train',), ('validation',)),
}


def open_splits(
  name: str, data_dir: pathlib.Path
) -> tuple[LabeledFiles, LabeledFiles]:
  """Opens `voc2007`, `coco2014` or `imagenet2012`, and prepares it if needed.

  An object of VOC that is marked difficult counts in training; a class that a
  test image shows by such objects alone is not evaluated on that image.

  Args:
    name: Name of the dataset.
    data_dir: TFDS's folder of datasets.

  Returns:
    Training and test images with their labels.

  Raises:
    DataUnavailableError: If the dataset can be neither read nor prepared.
  """
  path = _TFDS_NAMES[name]
  folder = prepared.find(data_dir, path) or _prepare(path, data_dir)
  try:
    features: Any = tfds.builder_from_directory(folder).info.features
    single = 'label' in features
    label = (features if single else features['objects'])['label']
    files = [TfdsFiles(folder, splits) for splits in _SPLITS[name]]
    train, test = _labels(folder, files, label.num_classes)
    classes = tuple(label.names)
    if len(classes) != label.num_classes:  # TFDS reads any number
      raise ValueError(
        f'it names {len(classes)} of {label.num_classes} classes'
      )
  except Exception as error:  # damaged files cause errors of many classes
    raise DataUnavailableError(
      f'the dataset prepared in {folder} cannot be read: '
      f'{first_line(error)}\n'
      'Images are read one by one, which needs it prepared with '
      "file_format='array_record'. Delete that folder and run again, or give "
      '--data_dir=FOLDER where it is prepared so.'
    ) from None
  return (
    LabeledFiles(files[0], np.abs(train), classes),
    LabeledFiles(files[1], test, classes),
  )


def _labels(
  folder: pathlib.Path, files: list[TfdsFiles], num_classes: int
) -> list[np.ndarray]:
  """Returns the labels of both splits, cached in `folder`."""
  cached = folder / _LABELS
  try:
    with open_regular(cached) as file:
      stored = npz.read_arrays(file)
    labels = [stored['train'], stored['test']]
    if _fit(labels, files, num_classes):
      return labels
  except (OSError, ValueError, KeyError):
    pass  # there are none, or they are damaged: they are read again
  labels = [
    np.stack([_label(example, num_classes) for example in part.examples()])
    for part in files
  ]
  try:
    temporary = cached.with_name(f'{_LABELS}.{os.getpid()}.tmp')
    with temporary.open('wb') as file:
      np.savez(file, train=labels[0], test=labels[1])
    temporary.replace(cached)
  except OSError:
    pass  # no write permission: labels are read again next time
  return labels


def _fit(
  labels: list[np.ndarray], files: list[TfdsFiles], num_classes: int
) -> bool:
  """Returns whether stored labels are of these files and classes."""
  for rows, part in zip(labels, files):
    columns = () if rows.ndim == 1 else (num_classes,)
    if rows.shape != (len(part), *columns) or rows.dtype.kind != 'i':
      return False
    if rows.max(initial=0) >= num_classes:
      return False
  return True


def _label(example: Example, num_classes: int) -> np.ndarray:
  """Returns the class index, or 1, 0 or -1 (only difficult) per class."""
  if 'objects' not in example:
    return np.array(example['label'], np.int32)
  row = np.zeros(num_classes, np.int8)
  objects = example['objects']
  row[objects['label']] = 1
  if 'labels_no_difficult' in example:
    row[objects['label']] = -1
    row[example['labels_no_difficult']] = 1
  return row


def _prepare(path: str, data_dir: pathlib.Path) -> pathlib.Path:
  """Prepares a dataset by TFDS's own builder; the folder of its files."""
  try:
    # Checked before gigabytes are downloaded: TFDS reads annotations with it.
    if importlib.util.find_spec('tensorflow') is None:
      raise ModuleNotFoundError('TensorFlow is not installed')
    builder = tfds.builder(path, data_dir=os.fspath(data_dir))
    builder.download_and_prepare(
      file_format='array_record',
      download_dir=os.fspath(data_dir / 'downloads'),
    )
    return pathlib.Path(builder.data_dir)
  except Exception as error:  # any error of TFDS, of its host or of the disk
    kind = 'folder' if path == _TFDS_NAMES['imagenet2012'] else 'coco'
    raise DataUnavailableError(
      f'{not_prepared(path, data_dir, error)}\n'
      'Preparing it needs TensorFlow (pip install "kdjax[data]"), reading it '
      'does not. Ways out: --data_dir=FOLDER where it is prepared as '
      f'array_record; --dataset={kind}:PATH with images of your own.'
    ) from None
