"""Encoded images by index: files on disk, and subsets of a dataset's files."""

import dataclasses
import os
import stat
from collections.abc import Iterable
from typing import BinaryIO, Protocol

import numpy as np

from kdjax.data.images import EncodedImage
from kdjax.messages import first_line, printable

# Opening a pipe waits for its writer unless it is non-blocking; Windows, which
# has no such flag, has one for binary files.
_OPEN_FLAGS = getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_BINARY', 0)
_MAX_BYTES = 1 << 30  # of an encoded image
_MAX_PATH = 4096  # bytes, as on Linux


class Files(Protocol):
  """Encoded images by index; pickled for worker processes."""

  def __len__(self) -> int: ...

  def read(self, index: int) -> bytes:
    """Returns an encoded image; raises any error if it cannot be read."""
    ...

  def name(self, index: int) -> str:
    """Returns the name of an image, for messages."""
    ...


def open_image(files: Files, index: int) -> EncodedImage:
  """Reads one image of `files`, and decodes its header.

  Args:
    files: Encoded images.
    index: Index of the image.

  Raises:
    ValueError: If it cannot be read or is not an image; the message names it.
  """
  name = files.name(index)
  try:
    content = files.read(index)
  except Exception as error:  # readers of archives raise nearly any kind
    raise ValueError(f'cannot read {name}: {first_line(error)}') from None
  return EncodedImage(content, name)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFiles:
  """Files on disk.

  Attributes:
    paths: Their paths as bytes, `[N]`. One array, because each worker process
      has its own copy and a million strings take ten times the memory.
  """

  paths: np.ndarray

  @classmethod
  def from_paths(cls, paths: Iterable[os.PathLike[str] | str]) -> 'ImageFiles':
    """Returns the files with these paths, in this order.

    Raises:
      ValueError: If one cannot be the path of a file.
    """
    return cls(np.array([_encoded_path(path) for path in paths], np.bytes_))

  def __len__(self) -> int:
    return len(self.paths)

  def read(self, index: int) -> bytes:
    """Returns a file's contents.

    Raises:
      OSError: As `open_regular`, or if it is too large for an image.
    """
    with open_regular(self.name(index)) as file:
      size = os.fstat(file.fileno()).st_size
      if size > _MAX_BYTES:
        raise OSError(f'it has {size:,} bytes, too many for an image')
      return file.read()

  def name(self, index: int) -> str:
    """Returns a file's path."""
    return os.fsdecode(bytes(self.paths[index]))


def _encoded_path(path: os.PathLike[str] | str) -> bytes:
  """Returns a path as bytes, checked because rows of an array are as long."""
  try:
    encoded = os.fsencode(path)
  except UnicodeEncodeError:
    encoded = b'\0'
  if b'\0' in encoded or len(encoded) > _MAX_PATH:
    raise ValueError(
      f'{printable(os.fspath(path))} cannot be the path of a file.'
    )
  return encoded


def open_regular(path: os.PathLike[str] | str) -> BinaryIO:
  """Opens a file for reading unless it is a pipe, a device or a folder.

  Reading a pipe would wait for a writer, reading a device might never end.

  Args:
    path: The file.

  Raises:
    OSError: If it cannot be opened or is not a regular file.
  """
  descriptor = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
  if stat.S_ISREG(os.fstat(descriptor).st_mode):
    return os.fdopen(descriptor, 'rb')
  os.close(descriptor)
  raise OSError('it is not a regular file')


@dataclasses.dataclass(frozen=True, eq=False)
class Subset:
  """Some of the images of `files`.

  Attributes:
    files: All images.
    rows: Integer `[R]`, indices into `files`.
  """

  files: Files
  rows: np.ndarray

  def __len__(self) -> int:
    return len(self.rows)

  def read(self, index: int) -> bytes:
    """Returns an encoded image; raises `OSError` if it cannot be read."""
    return self.files.read(int(self.rows[index]))

  def name(self, index: int) -> str:
    """Returns the name of an image, for messages."""
    return self.files.name(int(self.rows[index]))


@dataclasses.dataclass(frozen=True, eq=False)
class LabeledFiles:
  """Encoded images of one split, and their labels.

  Attributes:
    files: The images.
    labels: int32 `[N]`, one class index per image; or int8 `[N, K]` for several
      classes per image: 1 if an image shows a class, 0 if not, -1 if the class
      is not evaluated on it.
    class_names: Names of the classes.
  """

  files: Files
  labels: np.ndarray
  class_names: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.labels)

  def take(self, rows: np.ndarray) -> 'LabeledFiles':
    """Returns some of the images.

    Args:
      rows: Integer `[R]`, indices of images.
    """
    files = Subset(self.files, rows)
    return LabeledFiles(files, self.labels[rows], self.class_names)
