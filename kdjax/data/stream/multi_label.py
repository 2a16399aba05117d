"""Streamed multi-label datasets: VOC, COCO, and folders like COCO's."""

import os

import numpy as np

from kdjax.data.files import LabeledFiles
from kdjax.data.names import parse_name
from kdjax.data.stream.coco import read_coco
from kdjax.data.stream.dataset import StreamedDataset
from kdjax.data.stream.reading import Reading
from kdjax.data.stream.split import StreamedSplit
from kdjax.data.stream.views import Whole
from kdjax.data.tfds import prepared
from kdjax.messages import first_few
from kdjax.names import unknown

_READING = Reading()


def load_multi_label(
  name: str,
  *,
  size: int = 448,
  data_dir: str | os.PathLike[str] | None = None,
  reading: Reading = _READING,
  keep_unlabelled: bool = False,
) -> StreamedDataset:
  """Opens a multi-label dataset whose images stay on disk.

  Args:
    name: `voc2007` or `coco2014` (through TFDS), or `coco:PATH`; see
      `read_coco`.
    size: Height and width that images are resized to, without a crop.
    data_dir: TFDS's folder of datasets (default: `TFDS_DATA_DIR`, or
      `~/tensorflow_datasets`).
    reading: Numbers of processes and threads, and the treatment of images that
      cannot be decoded.
    keep_unlabelled: Whether images without any label are kept, as images that
      show no class; otherwise they are left out, as in the published code.

  Returns:
    The dataset; labels are int8 `[N, K]`.

  Raises:
    ValueError: If there is no such dataset, or its parts do not match.
    DataUnavailableError: (a ValueError) If it can be neither read nor
      downloaded.
  """
  view = Whole((size, size))
  parts = _open(name, data_dir)
  train, test = parts if keep_unlabelled else map(_labeled_only, parts)
  _check_categories(name, train, test)
  for which, part, shown in zip(('training', 'test'), parts, (train, test)):
    if not (shown.labels > 0).any():
      raise ValueError(
        f'{name}: not one of {len(part):,} {which} images has a label: there '
        f'are 0 annotations of {len(part.class_names):,} categories on them.'
      )
  splits = [
    StreamedSplit(
      files=part.files, labels=part.labels, view=view, reading=reading
    )
    for part in (train, test)
  ]
  return StreamedDataset(
    name=name,
    train=splits[0],
    test=splits[1],
    class_names=train.class_names,
    left_out=sum(map(len, parts)) - sum(map(len, splits)),
  )


def _check_categories(
  name: str, train: LabeledFiles, test: LabeledFiles
) -> None:
  if train.class_names == test.class_names:
    return
  ours, others = train.class_names, test.class_names
  only = [
    [each for each in one if each not in set(other)]
    for one, other in ((ours, others), (others, ours))
  ]
  raise ValueError(
    f'{name}: training and test images have different categories: '
    f'{len(ours):,}, of which {len(only[0]):,} are in training alone '
    f'({first_few(only[0])}), and {len(others):,}, of which {len(only[1]):,} '
    f'are in the test alone ({first_few(only[1])}).'
  )


def _open(
  name: str, data_dir: str | os.PathLike[str] | None
) -> tuple[LabeledFiles, LabeledFiles]:
  """Returns all training and test images of a dataset."""
  kind, path = parse_name(name, ('coco',))
  if path is not None:
    return read_coco(path, 'train'), read_coco(path, 'val')
  if kind not in ('voc2007', 'coco2014'):
    known = ('voc2007', 'coco2014', 'coco:PATH')
    raise ValueError(unknown('multi-label dataset', name, known))

  from kdjax.data.tfds import labeled  # slow to import

  return labeled.open_splits(name, prepared.data_folder(data_dir))


def _labeled_only(part: LabeledFiles) -> LabeledFiles:
  return part.take(np.flatnonzero((part.labels != 0).any(1)))
