"""The original files of a set: those that are there, and downloads.

Imports TensorFlow Datasets, though not TensorFlow. Files lie where TFDS looks
for them, under the names that it gives them.
"""

import hashlib
import os
import pathlib
import threading
import urllib.request
from typing import Any

import rich.console
import rich.progress
from etils import epath
from tensorflow_datasets.core.download import checksums, resource

# TFDS itself tries for minutes; a host that answers at all answers in seconds.
_SECONDS_TO_ANSWER = 10.0
_SECONDS_OF_SILENCE = 60.0  # within a download
_BLOCK = 1 << 18  # bytes


def obtain(data_dir: pathlib.Path, builder: Any) -> None:
  """Makes sure that every original file of a set is here and whole.

  A file may have been put into `data_dir` itself, under the name it has where
  it comes from; TFDS may have downloaded it before; or it is downloaded now. A
  download that was cut off goes on where it stopped.

  Args:
    data_dir: TFDS's folder of sets.
    builder: Of the set; its `urls` are what is needed.

  Raises:
    OSError: If it cannot be downloaded or written.
    ValueError: If a file is not the one that is registered for its address.
  """
  known = {**checksums.get_all_url_infos(), **(builder.url_infos or {})}
  for url in builder.urls:
    info = known[url]
    places = _places(data_dir, builder.name, url, info)
    if any(resource.is_locally_cached(epath.Path(p)) for p in places):
      continue
    given = data_dir / (info.filename or url.rpartition('/')[2])
    if given.is_file():
      _check(given, info)
    else:
      _download(url, info, places[0], builder.name)


def _places(
  data_dir: pathlib.Path, name: str, url: str, info: Any
) -> tuple[pathlib.Path, pathlib.Path]:
  """Where TFDS keeps a file whose name says that it was checked."""
  file = resource.get_dl_fname(url, info.checksum)
  folder = data_dir / 'downloads'
  return folder / name / file, folder / file


def _check(path: pathlib.Path, info: Any) -> None:
  """Raises a `ValueError` unless a file has the size and SHA-256 it should."""
  size = path.stat().st_size
  if size != info.size:
    raise ValueError(
      f'{path} is damaged or another file ({size} bytes instead of '
      f'{info.size}); delete it and run again.'
    )
  with path.open('rb') as file:
    found = hashlib.file_digest(file, 'sha256').hexdigest()
  if found != info.checksum:
    raise ValueError(
      f'{path} is damaged or another file (SHA-256 {found[:16]}… instead of '
      f'{info.checksum[:16]}…); delete it and run again.'
    )


def _download(url: str, info: Any, path: pathlib.Path, name: str) -> None:
  _check_answers(url)
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f'{path.name}.part')
  _fetch(url, part, info.size)
  try:
    _check(part, info)
  except ValueError as error:
    part.unlink()  # going on with it would never make it right
    raise ValueError(f'{url} did not give what it should: {error}') from None
  resource.write_info_file(
    url=url,
    path=epath.Path(path),
    dataset_name=name,
    original_fname=info.filename,
    url_info=info,
  )
  part.replace(path)


def _fetch(url: str, part: pathlib.Path, size: int) -> None:
  """Appends to a file what it still lacks of an address."""
  have = part.stat().st_size if part.exists() else 0
  if have == size:
    return
  request = urllib.request.Request(url)
  if 0 < have < size:
    request.add_header('Range', f'bytes={have}-')
  console = rich.console.Console(stderr=True)
  with (
    urllib.request.urlopen(request, timeout=_SECONDS_OF_SILENCE) as answer,
    part.open('ab') as file,
    rich.progress.Progress(
      rich.progress.TextColumn(f'Downloading {os.path.basename(url)}'),
      rich.progress.BarColumn(),
      rich.progress.DownloadColumn(),
      rich.progress.TimeRemainingColumn(),
      console=console,
      disable=not console.is_terminal,
    ) as bar,
  ):
    if answer.status != 206:  # a server that begins at the beginning
      file.truncate(0)
      have = 0
    task = bar.add_task('', total=size, completed=have)
    while block := answer.read(_BLOCK):
      file.write(block)
      bar.advance(task, len(block))
  if part.stat().st_size < size:
    raise OSError(
      f'{url} was cut off after {part.stat().st_size} of {size} bytes; run '
      'again to go on'
    )


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
