"""Downloads and prepares sets through TFDS; imports TFDS, not TensorFlow."""

import contextlib
import io
import os
import pathlib
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.download import (
  checksums,
  download_manager,
  resource,
  util,
)

from kdjax.data import builders, digits
from kdjax.data.errors import DataUnavailableError

BUILDERS = {
  'cifar10': builders.Cifar10,
  'cifar100': builders.Cifar100,
  'digits': digits.Digits,
  'svhn_cropped': builders.SvhnCropped,
}

# TFDS itself tries for minutes; a host that answers at all answers in seconds.
_SECONDS_TO_ANSWER = 10.0


def prepare(data_dir: pathlib.Path, name: str) -> pathlib.Path:
  """Prepares a set as array_record files and returns their folder.

  Archives that TFDS has downloaded (or extracted) before into
  `data_dir/downloads` are used again.

  Raises:
    DataUnavailableError: If it cannot be downloaded, read or written.
  """
  folder = None
  try:
    builder = BUILDERS[name](data_dir=os.fspath(data_dir))
    folder = pathlib.Path(builder.data_dir)
    for url in _not_downloaded(data_dir, builder):
      _check_answers(url)
    with _quiet() if not builder.urls else contextlib.nullcontext():
      builder.download_and_prepare(
        file_format='array_record',
        download_dir=os.fspath(data_dir / 'downloads'),
      )
  except _FAILURES as error:
    # Another process may have been faster; its files are as good.
    if folder is None or not (folder / 'dataset_info.json').exists():
      raise DataUnavailableError(_advice(name, data_dir, error)) from None
  return folder


_FAILURES = (
  OSError,  # no network, no permission, a full disk
  ValueError,  # damaged archives
  util.DownloadError,
  download_manager.NonMatchingChecksumError,
)


def _advice(name: str, data_dir: pathlib.Path, error: Exception) -> str:
  return (
    f'the data set {name} is not prepared in {data_dir} and could not be '
    f'downloaded and prepared there: {_first_line(error)}\n'
    'Ways out:\n'
    f'  --data_dir=FOLDER where FOLDER/{name} was prepared by TensorFlow '
    'Datasets;\n'
    '  on a machine with a network, run\n'
    f"    python -c \"from kdjax import data; data.load('{name}', "
    "data_dir='FOLDER')\"\n"
    f'  and copy FOLDER here;\n'
    '  --dataset=npz:FILE or --dataset=folder:FOLDER with images of your own.'
  )


def _first_line(error: Exception) -> str:
  return (str(error) or type(error).__name__).splitlines()[0]


def _not_downloaded(data_dir: pathlib.Path, builder: Any) -> list[str]:
  known = {**checksums.get_all_url_infos(), **(builder.url_infos or {})}
  folder = data_dir / 'downloads'
  missing = []
  for url in builder.urls:
    file = resource.get_dl_fname(url, known[url].checksum)
    places = (folder / builder.name / file, folder / file)
    if not any(resource.is_locally_cached(epath.Path(p)) for p in places):
      missing.append(url)
  return missing


def _check_answers(url: str) -> None:
  """Raises an OSError unless the host of `url` answers soon."""
  failure: list[Exception] = [TimeoutError('no answer')]

  def ask():
    request = urllib.request.Request(url, method='HEAD')
    try:
      with urllib.request.urlopen(request, timeout=_SECONDS_TO_ANSWER):
        failure.clear()
    except (OSError, ValueError) as error:
      failure[0] = error

  # The look-up of a name has no time limit of its own, hence the thread.
  asking = threading.Thread(target=ask, daemon=True)
  asking.start()
  asking.join(_SECONDS_TO_ANSWER)
  if failure:
    raise OSError(f'{url} cannot be reached ({failure[0]})')


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without TFDS's bars and messages, which outnumber a tiny set's images."""
  tfds.display_progress_bar(False)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tfds.display_progress_bar(True)
