"""Images as files of their own, for streams."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFiles:
  """Files by number; see `kdjax.data.stream.share.Files`.

  Attributes:
    paths: As bytes in one array, because each worker process has its own: a
      million strings would take ten times the memory.
  """

  paths: np.ndarray

  @classmethod
  def of(cls, paths: Iterable[os.PathLike[str] | str]) -> 'ImageFiles':
    """Those files, in that order."""
    return cls(np.array([os.fsencode(path) for path in paths], np.bytes_))

  def __len__(self) -> int:
    return len(self.paths)

  def read(self, index: int) -> bytes:
    """The file's contents."""
    return pathlib.Path(self.name(index)).read_bytes()

  def name(self, index: int) -> str:
    """Its path."""
    return os.fsdecode(bytes(self.paths[index]))
