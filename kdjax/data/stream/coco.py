"""Multi-label sets in COCO's format: which categories are in an image."""

import collections
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from kdjax.data.stream.image_files import ImageFiles

# Where annotations and images lie below a folder: as COCO is unpacked, or as a
# pair of files by name; `{split}` is train or val.
_LAYOUTS = (
  ('annotations/instances_{split}2014.json', '{split}2014'),
  ('annotations/instances_{split}2017.json', '{split}2017'),
  ('{split}.json', '.'),
)


@dataclasses.dataclass(frozen=True)
class Annotated:
  """One split: image files, and which classes each of them shows.

  Attributes:
    files: The images, by their number in the annotations.
    labels: int8 `[N, K]` of 0 and 1; a row of zeros has no annotation.
    class_names: By the categories' numbers.
  """

  files: ImageFiles
  labels: np.ndarray
  class_names: tuple[str, ...]


def read_coco(path: pathlib.Path, split: str) -> Annotated:
  """The images and categories of a split.

  Args:
    path: A folder with `annotations/instances_train2014.json` and `train2014/`
      (or of 2017), one with `train.json`, or what `_train.json` is appended to;
      `val` in place of `train`. There `file_name` is relative to the file.
    split: `train` or `val`.

  Raises:
    ValueError: If there are no such files, or they hold something else.
  """
  file, images = _find(path, split)
  try:
    content = json.loads(file.read_text())
    return _annotated(content, images)
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f'{file} is not readable JSON: {error}.') from None
  except (KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f'{file} is not in COCO\'s format ("images" with id and file_name, '
      '"annotations" with image_id and category_id, "categories" with id and '
      f'name): {type(error).__name__} {error}.'
    ) from None


def _annotated(content: dict[str, Any], folder: pathlib.Path) -> Annotated:
  categories = sorted(content['categories'], key=lambda each: each['id'])
  column = {each['id']: place for place, each in enumerate(categories)}
  shown = collections.defaultdict(set)
  for box in content['annotations']:
    shown[box['image_id']].add(column[box['category_id']])
  images = sorted(content['images'], key=lambda each: each['id'])
  labels = np.zeros((len(images), len(categories)), np.int8)
  for row, image in enumerate(images):
    labels[row, list(shown[image['id']])] = 1
  return Annotated(
    ImageFiles.of(folder / each['file_name'] for each in images),
    labels,
    tuple(str(each['name']) for each in categories),
  )


def _find(path: pathlib.Path, split: str) -> tuple[pathlib.Path, pathlib.Path]:
  """The file of annotations, and the folder that holds the images."""
  places = [
    (path / file.format(split=split), path / images.format(split=split))
    for file, images in _LAYOUTS
  ]
  places.append((path.with_name(f'{path.name}_{split}.json'), path.parent))
  for file, images in places:
    if file.is_file():
      return file, images
  raise ValueError(
    f'there are no annotations of {split} images for coco:{path}: looked for '
    f'{", ".join(str(file) for file, _ in places)}.'
  )
