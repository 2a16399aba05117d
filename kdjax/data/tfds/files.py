"""Encoded images of prepared datasets; imports TFDS but not TensorFlow."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

# Images stay encoded: TFDS's own decoding logs a request for OpenCV, and whole
# images of large datasets do not fit into memory.
ENCODED: dict[str, Any] = {'image': tfds.decode.SkipDecoding()}

Example = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TfdsFiles:
  """Encoded images of prepared splits; see `kdjax.data.files.Files`.

  Attributes:
    folder: Folder of one version of a dataset, prepared as array_record.
    splits: Names of the splits, which are concatenated.
  """

  folder: pathlib.Path
  splits: tuple[str, ...]

  def __len__(self) -> int:
    return sum(map(len, self._sources))

  def __reduce__(self):
    # Open files are not sent to other processes.
    return type(self), (self.folder, self.splits)

  def read(self, index: int) -> bytes:
    """Returns an encoded image."""
    split, row = self._locate(index)
    return self._sources[split][row]['image']

  def name(self, index: int) -> str:
    """Returns the folder, split and row of an image."""
    split, row = self._locate(index)
    return f'{self.folder} {self.splits[split]}[{row}]'

  def examples(self) -> Iterator[Example]:
    """Yields all examples, with encoded images."""
    for source in self._sources:
      for row in range(len(source)):
        yield source[row]

  def _locate(self, index: int) -> tuple[int, int]:
    """Returns the split and the row in it."""
    for split, source in enumerate(self._sources):
      if index < len(source):
        return split, index
      index -= len(source)
    raise IndexError(index)

  @functools.cached_property
  def _sources(self) -> list[Any]:
    builder: Any = tfds.builder_from_directory(self.folder)
    return [builder.as_data_source(s, decoders=ENCODED) for s in self.splits]
