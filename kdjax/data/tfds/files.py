"""Large sets as TFDS prepares them; imports TFDS, and no TensorFlow."""

import dataclasses
import functools
import importlib.util
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from kdjax.data.errors import DataUnavailableError
from kdjax.data.tfds import prepared

_LABELS = 'kdjax_labels.npz'  # inside the prepared set, so it goes with it
_SETS = {
  'voc2007': 'voc/2007',
  'coco2014': 'coco/2014',
  'imagenet2012': 'imagenet2012',
}
# VOC trains on both, as everybody does. ImageNet's test labels are secret.
_SPLITS = {
  'voc2007': (('train', 'validation'), ('test',)),
  'coco2014': (('train',), ('validation',)),
  'imagenet2012': (('train',), ('validation',)),
}


@dataclasses.dataclass(frozen=True)
class TfdsFiles:
  """Encoded images of prepared splits; see `kdjax.data.stream.share.Files`.

  Attributes:
    folder: Of one version of one set, prepared as array_record.
    splits: One behind the other.
  """

  folder: pathlib.Path
  splits: tuple[str, ...]

  def __len__(self) -> int:
    return sum(map(len, self._sources))

  def __reduce__(self):
    # Open files stay behind when it is sent to another process.
    return type(self), (self.folder, self.splits)

  def read(self, index: int) -> bytes:
    """The image as it is stored."""
    split, row = self._place(index)
    return self._sources[split][row]['image']

  def name(self, index: int) -> str:
    """Where it is."""
    split, row = self._place(index)
    return f'{self.folder} {self.splits[split]}[{row}]'

  def examples(self):
    """All of it, image by image, the images encoded."""
    for source in self._sources:
      for row in range(len(source)):
        yield source[row]

  def _place(self, index: int) -> tuple[int, int]:
    for split, source in enumerate(self._sources):
      if index < len(source):
        return split, index
      index -= len(source)
    raise IndexError(index)

  @functools.cached_property
  def _sources(self) -> list[Any]:
    builder: Any = tfds.builder_from_directory(self.folder)
    skip: Any = tfds.decode.SkipDecoding
    decoders = {'image': skip()}
    return [builder.as_data_source(s, decoders=decoders) for s in self.splits]


@dataclasses.dataclass(frozen=True)
class Labelled:
  """One split: encoded images, and which class or classes each of them shows.

  Attributes:
    files: The images.
    labels: int32 `[N]`, or of a set with several classes per image int8
      `[N, K]`: 1, 0, and -1 where a class is not to be judged.
    class_names: As TFDS numbers them.
  """

  files: TfdsFiles
  labels: np.ndarray
  class_names: tuple[str, ...]


def open_splits(name: str, data_dir: pathlib.Path) -> tuple[Labelled, Labelled]:
  """Training and test split of `voc2007`, `coco2014` or `imagenet2012`.

  An object of VOC that is marked difficult counts as one in training; in a test
  image that shows a class by such objects alone the class is not judged.

  Raises:
    DataUnavailableError: If the set cannot be read, or prepared.
  """
  path = _SETS[name]
  folder = prepared.find(data_dir, path) or _prepare(path, data_dir)
  try:
    features: Any = tfds.builder_from_directory(folder).info.features
    single = 'label' in features
    label = (features if single else features['objects'])['label']
    files = [TfdsFiles(folder, splits) for splits in _SPLITS[name]]
    train, test = _labels(folder, files, label.num_classes)
  except (OSError, RuntimeError, ValueError, NotImplementedError) as error:
    raise DataUnavailableError(
      f'the data set prepared in {folder} cannot be read: {error}\n'
      'Images are read one by one, which needs it prepared with '
      "file_format='array_record'. Delete that folder and run again, or give "
      '--data_dir=FOLDER where it is prepared so.'
    ) from None
  names = tuple(label.names)
  return (
    Labelled(files[0], np.abs(train), names),
    Labelled(files[1], test, names),
  )


def _labels(
  folder: pathlib.Path, files: list[TfdsFiles], num_classes: int
) -> list[np.ndarray]:
  """Labels of the splits: found by one walk, and kept beside the set."""
  cached = folder / _LABELS
  try:
    with np.load(cached, allow_pickle=False) as stored:
      found = [stored['train'], stored['test']]
    if [len(labels) for labels in found] == [len(part) for part in files]:
      return found
  except (OSError, ValueError, KeyError, EOFError):
    pass
  found = [
    np.stack([_label(example, num_classes) for example in part.examples()])
    for part in files
  ]
  try:
    temporary = cached.with_name(f'{_LABELS}.{os.getpid()}.tmp')
    with temporary.open('wb') as file:
      np.savez(file, train=found[0], test=found[1])
    temporary.replace(cached)
  except OSError:
    pass  # a set that others prepared: it is walked through again next time
  return found


def _label(example: dict[str, Any], num_classes: int) -> np.ndarray:
  """The class; of several, 1 for those shown, -1 by difficult objects alone."""
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
  try:
    # Before gigabytes are downloaded: TFDS reads their annotations with it.
    if importlib.util.find_spec('tensorflow') is None:
      raise ModuleNotFoundError('TensorFlow is not installed')
    builder = tfds.builder(path, data_dir=os.fspath(data_dir))
    builder.download_and_prepare(
      file_format='array_record',
      download_dir=os.fspath(data_dir / 'downloads'),
    )
    return pathlib.Path(builder.data_dir)
  except Exception as error:  # whatever TFDS, its host or the disk say
    own = 'folder' if path == _SETS['imagenet2012'] else 'coco'
    first = (str(error) or type(error).__name__).splitlines()[0]
    raise DataUnavailableError(
      f'the data set {path} is not prepared in {data_dir} and could not be '
      f'downloaded and prepared there: {first}\n'
      'Preparing it needs TensorFlow (pip install "kdjax[data]"), reading it '
      'does not. Ways out: --data_dir=FOLDER where it is prepared as '
      f'array_record; --dataset={own}:PATH with images of your own.'
    ) from None
