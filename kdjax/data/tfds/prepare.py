"""Downloads and prepares sets through TFDS; imports TFDS, not TensorFlow."""

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import download_manager, util

from kdjax.data.errors import DataUnavailableError
from kdjax.data.tfds import archives, builders, digits, tiny_imagenet

BUILDERS = {
  'cifar10': builders.Cifar10,
  'cifar100': builders.Cifar100,
  'digits': digits.Digits,
  'stl10': builders.Stl10,
  'svhn_cropped': builders.SvhnCropped,
  'tiny_imagenet': tiny_imagenet.TinyImagenet,
}


def prepare(data_dir: pathlib.Path, name: str) -> pathlib.Path:
  """Prepares a set as array_record files and returns their folder.

  Archives that lie in `data_dir`, or that were downloaded (or extracted) before
  into `data_dir/downloads`, are used. Whatever interrupts this, the next call
  goes on with what is there; a half prepared set never counts as one.

  Raises:
    DataUnavailableError: If it cannot be downloaded, read or written.
  """
  builder = folder = None
  try:
    builder = BUILDERS[name](data_dir=os.fspath(data_dir))
    folder = pathlib.Path(builder.data_dir)
    archives.obtain(data_dir, builder)
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


_FAILURES = (
  OSError,  # no network, no permission, a full disk
  ValueError,  # damaged archives
  util.DownloadError,
  download_manager.NonMatchingChecksumError,
)


def _advice(
  name: str, data_dir: pathlib.Path, urls: tuple[str, ...], error: Exception
) -> str:
  files = ' and '.join(url.rpartition('/')[2] for url in urls)
  return (
    f'the data set {name} is not prepared in {data_dir} and could not be '
    f'downloaded and prepared there: {_first_line(error)}\n'
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


def _first_line(error: Exception) -> str:
  return (str(error) or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without TFDS's bars and messages, which outnumber a tiny set's images."""
  tfds.display_progress_bar(False)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tfds.display_progress_bar(True)
