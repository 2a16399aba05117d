"""The original files of a dataset: finds them, or downloads them.

Imports TensorFlow Datasets but not TensorFlow. Files are kept where TFDS looks
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

# TFDS itself retries for minutes; a host that answers at all does in seconds.
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0  # without any data during a download
_BLOCK_BYTES = 1 << 18


def ensure_files(data_dir: pathlib.Path, builder: Any) -> None:
  """Makes sure that all original files of a dataset are here and undamaged.

  A file may have been put into `data_dir` under its original name, or may have
  been downloaded by TFDS before; otherwise it is downloaded. An interrupted
  download is resumed.

  Args:
    data_dir: TFDS's folder of datasets.
    builder: TFDS's builder of the dataset; `urls` are the files it needs.

  Raises:
    OSError: If a file cannot be downloaded or written.
    ValueError: If a file is not the one that is registered for its address.
  """
  known = {**checksums.get_all_url_infos(), **(builder.url_infos or {})}
  for url in builder.urls:
    info = known[url]
    paths = _download_paths(data_dir, builder.name, url, info)
    if any(resource.is_locally_cached(epath.Path(p)) for p in paths):
      continue
    given = data_dir / (info.filename or url.rpartition('/')[2])
    if given.is_file():
      _check(given, info)
    else:
      _download(url, info, paths[0], builder.name)


def _download_paths(
  data_dir: pathlib.Path, name: str, url: str, info: Any
) -> tuple[pathlib.Path, pathlib.Path]:
  """Returns the path of a file that TFDS downloaded, named by its checksum."""
  file = resource.get_dl_fname(url, info.checksum)
  folder = data_dir / 'downloads'
  return folder / name / file, folder / file


def _check(path: pathlib.Path, info: Any) -> None:
  """Checks the size and SHA-256 of a file."""
  size = path.stat().st_size
  if size != info.size:
    raise ValueError(
      f'{path} is damaged or another file ({size} bytes instead of '
      f'{info.size}); delete it and run again.'
    )
  with path.open('rb') as file:
    checksum = hashlib.file_digest(file, 'sha256').hexdigest()
  if checksum != info.checksum:
    raise ValueError(
      f'{path} is damaged or another file (SHA-256 {checksum[:16]}… instead of '
      f'{info.checksum[:16]}…); delete it and run again.'
    )


def _download(url: str, info: Any, path: pathlib.Path, name: str) -> None:
  _check_reachable(url)
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f'{path.name}.part')
  _fetch(url, part, info.size)
  try:
    _check(part, info)
  except ValueError as error:
    part.unlink()  # resuming it could never give the right file
    raise ValueError(f'{url} is not the registered file: {error}') from None
  resource.write_info_file(
    url=url,
    path=epath.Path(path),
    dataset_name=name,
    original_fname=info.filename,
    url_info=info,
  )
  part.replace(path)


def _fetch(url: str, part: pathlib.Path, size: int) -> None:
  """Downloads the missing bytes of `part`, of a file of `size` bytes."""
  start = part.stat().st_size if part.exists() else 0
  if start == size:
    return
  request = urllib.request.Request(url)
  if 0 < start < size:
    request.add_header('Range', f'bytes={start}-')
  with (
    urllib.request.urlopen(request, timeout=_READ_SECONDS) as response,
    part.open('ab') as file,
    _progress(url) as progress,
  ):
    if response.status != 206:  # the server sends the whole file
      file.truncate(0)
      start = 0
    task = progress.add_task('', total=size, completed=start)
    while block := response.read(_BLOCK_BYTES):
      file.write(block)
      progress.advance(task, len(block))
  if part.stat().st_size < size:
    raise OSError(
      f'{url} was cut off after {part.stat().st_size} of {size} bytes; run '
      'again to resume'
    )


def _progress(url: str) -> rich.progress.Progress:
  """Returns a progress bar on standard error, for terminals only."""
  console = rich.console.Console(stderr=True)
  return rich.progress.Progress(
    rich.progress.TextColumn(f'Downloading {os.path.basename(url)}'),
    rich.progress.BarColumn(),
    rich.progress.DownloadColumn(),
    rich.progress.TimeRemainingColumn(),
    console=console,
    disable=not console.is_terminal,
  )


def _check_reachable(url: str) -> None:
  """Raises an `OSError` unless the host answers within seconds."""
  failure: list[Exception] = [TimeoutError('no answer')]

  def send_head():
    request = urllib.request.Request(url, method='HEAD')
    try:
      with urllib.request.urlopen(request, timeout=_CONNECT_SECONDS):
        failure.clear()
    except (OSError, ValueError) as error:
      failure[0] = error

  # Name resolution has no time limit of its own, hence the thread.
  thread = threading.Thread(target=send_head, daemon=True)
  thread.start()
  thread.join(_CONNECT_SECONDS)
  if failure:
    raise OSError(f'{url} cannot be reached ({failure[0]})')
