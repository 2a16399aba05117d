"""Small streamed datasets, written to disk or kept in memory."""

import dataclasses
import io
import json
import pathlib

import numpy as np
from PIL import Image

from kdjax.data.stream.reading import Reading
from kdjax.data.stream.split import StreamedSplit
from kdjax.data.stream.views import Whole

CLASSES = ('dot', 'bar', 'ring')


@dataclasses.dataclass(frozen=True)
class InMemory:
  contents: tuple[bytes, ...]

  def __len__(self):
    return len(self.contents)

  def read(self, index):
    return self.contents[index]

  def name(self, index):
    return f'image {index}'


@dataclasses.dataclass(frozen=True)
class Noting(InMemory):
  """Records which images are read; for one process."""

  asked: list[int]

  def read(self, index):
    self.asked.append(index)
    return super().read(index)


def png(level: int, size: tuple[int, int] = (8, 8)) -> bytes:
  """Returns a PNG image of one gray level."""
  file = io.BytesIO()
  Image.new('L', size, level).save(file, 'png')
  return file.getvalue()


def split(
  count: int = 10, broken: tuple[int, ...] = (), **reading
) -> StreamedSplit:
  """Returns a split: image i has gray level 10 i, its classes are i's bits."""
  contents = [b'no image' if i in broken else png(10 * i) for i in range(count)]
  bits = np.arange(count)[:, None] >> np.arange(len(CLASSES)) & 1
  return StreamedSplit(
    files=InMemory(tuple(contents)),
    labels=bits.astype(np.int8),
    view=Whole((4, 4)),
    reading=Reading(**reading),
  )


def write_coco(
  folder: pathlib.Path, name: str, labels: np.ndarray, names=CLASSES
) -> None:
  """Writes a split in COCO's format with category ids 10, 20, …, reversed."""
  images, boxes = [], []
  for row, shown in enumerate(labels):
    file = f'{name}{row}.png'
    (folder / file).write_bytes(png(10 * row))
    images.append({'id': 100 + row, 'file_name': file})
    boxes += [
      {'image_id': 100 + row, 'category_id': 10 * (k + 1)}
      for k in np.flatnonzero(shown).tolist()
    ] * 2
  categories = [{'id': 10 * (k + 1), 'name': n} for k, n in enumerate(names)]
  content = {
    'images': images[::-1],
    'annotations': boxes,
    'categories': categories[::-1],
  }
  (folder / f'{name}.json').write_text(json.dumps(content))
