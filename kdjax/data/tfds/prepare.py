"""Downloads and prepares datasets through TFDS.

Imports TensorFlow Datasets but not TensorFlow.
"""

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import download_manager, util

from kdjax.data.errors import DataUnavailableError, not_prepared
from kdjax.data.tfds import cifar, digits, downloads, stl10, svhn, tiny_imagenet

BUILDERS = {
  'cifar10': cifar.Cifar10,
  'cifar100': cifar.Cifar100,
  'digits': digits.Digits,
  'stl10': stl10.Stl10,
  'svhn_cropped': svhn.SvhnCropped,
  'tiny_imagenet': tiny_imagenet.TinyImagenet,
}

_FAILURES = (
  OSError,  # no network, no permission, a full disk
  ValueError,  # damaged archives
  util.DownloadError,
  download_manager.NonMatchingChecksumError,
)


def prepare(data_dir: pathlib.Path, name: str) -> pathlib.Path:
  """Prepares a dataset of `BUILDERS` as array_record files.

  Archives that lie in `data_dir`, or were downloaded (or extracted) before into
  `data_dir/downloads`, are used. After an interruption the next call resumes; a
  partly prepared dataset is never taken for a prepared one.

  Args:
    data_dir: TFDS's folder of datasets.
    name: Name of the dataset.

  Returns:
    The folder of the prepared files.

  Raises:
    DataUnavailableError: If the dataset cannot be downloaded, read or written.
  """
  builder = folder = None
  try:
    builder = BUILDERS[name](data_dir=os.fspath(data_dir))
    folder = pathlib.Path(builder.data_dir)
    downloads.ensure_files(data_dir, builder)
    with _quiet() if not builder.urls else contextlib.nullcontext():
      builder.download_and_prepare(
        file_format='array_record',
        download_dir=os.fspath(data_dir / 'downloads'),
        download_config=tfds.download.DownloadConfig(
          manual_dir=os.fspath(data_dir)
        ),
      )
  except _FAILURES as error:
    # Another process may have been faster; its files are as good.
    if folder is None or not (folder / 'dataset_info.json').exists():
      urls = () if builder is None else builder.urls
      raise DataUnavailableError(_advice(name, data_dir, urls, error)) from None
  return folder


def _advice(
  name: str, data_dir: pathlib.Path, urls: tuple[str, ...], error: Exception
) -> str:
  files = ' and '.join(url.rpartition('/')[2] for url in urls)
  return (
    f'{not_prepared(name, data_dir, error)}\n'
    'Ways out:\n'
    f'  --data_dir=FOLDER where FOLDER/{name} was prepared by TensorFlow '
    'Datasets;\n'
    '  on a machine with a network, run\n'
    f"    python -c \"from kdjax import data; data.load('{name}', "
    "data_dir='FOLDER')\"\n"
    '  and copy FOLDER here;\n'
    + (f'  put {files} into {data_dir} and run again;\n' if files else '')
    + '  --dataset=npz:FILE or --dataset=folder:FOLDER with images of your own.'
  )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Silences TFDS's bars and messages, too many for a tiny dataset."""
  tfds.display_progress_bar(False)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tfds.display_progress_bar(True)
