"""Multi-label datasets in COCO's format: the categories in each image."""

import collections
import json
import pathlib
from typing import Any

import numpy as np

from kdjax.data.files import ImageFiles, LabeledFiles

# Annotations and images below a folder: as COCO is unpacked, or a pair of files
# by name. `{split}` is train or val.
_LAYOUTS = (
  ('annotations/instances_{split}2014.json', '{split}2014'),
  ('annotations/instances_{split}2017.json', '{split}2017'),
  ('{split}.json', '.'),
)


def read_coco(path: pathlib.Path, split: str) -> LabeledFiles:
  """Reads the annotations of a split.

  Args:
    path: A folder with `annotations/instances_train2014.json` and `train2014/`
      (or of 2017), a folder with `train.json`, or the path that `_train.json`
      is appended to; `val` instead of `train` for the other split. In the last
      two `file_name` is relative to the folder of the JSON file.
    split: `train` or `val`.

  Returns:
    The images in the order of their ids; labels int8 `[N, K]`, 1 for the
    categories of an image's boxes and 0 for others; the names of the
    categories in the order of their ids.

  Raises:
    ValueError: If there are no such files, or they are not in COCO's format.
  """
  file, images = _find(path, split)
  try:
    content = json.loads(file.read_text())
    return _labeled_files(content, images)
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f'{file} is not readable JSON: {error}.') from None
  except (KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f'{file} is not in COCO\'s format ("images" with id and file_name, '
      '"annotations" with image_id and category_id, "categories" with id and '
      f'name): {type(error).__name__} {error}.'
    ) from None


def _labeled_files(
  content: dict[str, Any], folder: pathlib.Path
) -> LabeledFiles:
  categories = sorted(content['categories'], key=lambda each: each['id'])
  column = {each['id']: index for index, each in enumerate(categories)}
  columns = collections.defaultdict(set)
  for box in content['annotations']:
    columns[box['image_id']].add(column[box['category_id']])
  images = sorted(content['images'], key=lambda each: each['id'])
  labels = np.zeros((len(images), len(categories)), np.int8)
  for row, image in enumerate(images):
    labels[row, list(columns[image['id']])] = 1
  return LabeledFiles(
    ImageFiles.from_paths(folder / each['file_name'] for each in images),
    labels,
    tuple(str(each['name']) for each in categories),
  )


def _find(path: pathlib.Path, split: str) -> tuple[pathlib.Path, pathlib.Path]:
  """Returns the file of annotations, and the folder of the images."""
  candidates = [
    (path / file.format(split=split), path / images.format(split=split))
    for file, images in _LAYOUTS
  ]
  candidates.append((path.with_name(f'{path.name}_{split}.json'), path.parent))
  for file, images in candidates:
    if file.is_file():
      return file, images
  raise ValueError(
    f'there are no annotations of {split} images for coco:{path}: looked for '
    f'{", ".join(str(file) for file, _ in candidates)}.'
  )
