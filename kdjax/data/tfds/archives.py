"""Reads downloaded archives."""

import contextlib
import pathlib
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

from kdjax.data.errors import damaged

_ZIP_ERRORS = (
  OSError,
  EOFError,
  KeyError,
  NotImplementedError,  # an unknown compression
  RuntimeError,  # an encrypted member
  struct.error,
  zipfile.BadZipFile,
  zlib.error,
)


def read_tar(
  archive: pathlib.Path, prefix: str, names: tuple[str, ...]
) -> dict[str, bytes]:
  """Reads members of a .tar.gz archive, or of the copy that TFDS extracted.

  Args:
    archive: The archive, in TFDS's download folder of the dataset.
    prefix: Folder inside the archive, with a slash at the end.
    names: Files in that folder.

  Returns:
    Contents by name.

  Raises:
    ValueError: If the archive is damaged or lacks a file.
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
    raise damaged(archive, error) from None
  if missing := set(names) - set(files):
    raise ValueError(
      f'{archive} does not contain {prefix}{", ".join(sorted(missing))}.'
    )
  return files


@contextlib.contextmanager
def open_zip(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
  """Opens a .zip archive.

  Args:
    path: The archive.

  Yields:
    The archive, whose members can be read until the context ends.

  Raises:
    ValueError: If the archive, or a member read in the context, is damaged.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      yield archive
  except _ZIP_ERRORS as error:
    raise damaged(path, error) from None
