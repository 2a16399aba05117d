"""Multi-label datasets in COCO's format: the categories in each image."""

import json
import pathlib
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from kdjax.data.files import ImageFiles, LabeledFiles, open_regular
from kdjax.messages import first_few, first_line, printable
from kdjax.runtime.memory import check_fits

# Annotations and images below a folder: as COCO is unpacked, a pair of files by
# name, or a folder for each split.
_LAYOUTS = (
  ('annotations/instances_{split}2014.json', '{split}2014'),
  ('annotations/instances_{split}2017.json', '{split}2017'),
  ('{split}.json', '.'),
  ('{split}/_annotations.coco.json', '{split}'),
)
_NAMES = {'train': ('train',), 'val': ('val', 'valid', 'validation')}


def read_coco(path: pathlib.Path, split: str) -> LabeledFiles:
  """Reads the annotations of a split.

  Ids are compared as text, so that 7 and "7" are the same. Annotations of
  images that are not listed are left out with a warning.

  Args:
    path: A folder with `annotations/instances_train2014.json` and `train2014/`
      (or of 2017), a folder with `train.json`, a folder with
      `train/_annotations.coco.json`, or the path that `_train.json` is appended
      to; `val` or `valid` instead of `train` for the other split. In the last
      three `file_name` is relative to the folder of the JSON file.
    split: `train` or `val`.

  Returns:
    The images in the order of their ids; labels int8 `[N, K]`, 1 for the
    categories of an image's boxes and 0 for others; the names of the
    categories in the order of their ids.

  Raises:
    ValueError: If there are no such files, they are not in COCO's format, or
      an annotation is of a category that is not listed.
  """
  try:
    file, images = _find(path, split)
  except OSError as error:  # a path that is too long, or not permitted
    raise ValueError(f'cannot read coco:{path}: {error}') from None
  try:
    with open_regular(file) as opened:
      content = json.loads(opened.read())  # bytes may have a byte-order mark
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(
      f'{file} is not readable JSON: {first_line(error)}.'
    ) from None
  try:
    return _labeled_files(content, images, file)
  except ValueError as error:
    raise ValueError(f'{file}: {error}') from None
  except (KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f'{file} is not in COCO\'s format ("images" with id and file_name, '
      '"annotations" with image_id and category_id, "categories" with id and '
      f'name): {type(error).__name__} {error}.'
    ) from None


def _labeled_files(
  content: dict[str, Any], folder: pathlib.Path, file: pathlib.Path
) -> LabeledFiles:
  categories = sorted(content['categories'], key=_order)
  images = sorted(content['images'], key=_order)
  columns = _index('categories', categories)
  rows = _index('images', images)
  check_fits(len(rows) * len(columns), 'a table of all images and categories')
  labels = np.zeros((len(rows), len(columns)), np.int8)
  unlisted, unknown = [], {}
  for box in content['annotations']:
    row = rows.get(_text(box['image_id']))
    column = columns.get(_text(box['category_id']))
    if column is None:
      unknown[_text(box['category_id'])] = None
    elif row is None:
      unlisted.append(_text(box['image_id']))
    else:
      labels[row, column] = 1
  if unknown:
    raise ValueError(
      f'annotations have {len(unknown):,} category ids that "categories" does '
      f'not list: {first_few(unknown)}; it lists {first_few(columns, 8)}.'
    )
  if unlisted:
    warnings.warn(
      f'{file}: {len(unlisted):,} of {len(content["annotations"]):,} '
      'annotations are left out, because "images" does not list their '
      f'image_id: {first_few(dict.fromkeys(unlisted))}.',
      stacklevel=5,
    )
  return LabeledFiles(
    ImageFiles.from_paths(folder / each['file_name'] for each in images),
    labels,
    tuple(str(each['name']) for each in categories),
  )


def _index(kind: str, entries: Iterable[dict[str, Any]]) -> dict[str, int]:
  """Returns the position of each entry by its id."""
  index: dict[str, int] = {}
  for position, entry in enumerate(entries):
    key = _text(entry['id'])
    if index.setdefault(key, position) != position:
      raise ValueError(f'"{kind}" lists the id {printable(key)} twice.')
  return index


def _order(entry: dict[str, Any]) -> tuple[bool, Any]:
  """Returns a key that sorts numbers by value, before texts."""
  value = entry['id']
  _text(value)  # checks it
  return isinstance(value, str), value


def _text(value: Any) -> str:
  """Returns an id as text: 7, 7.0 and "7" are the same."""
  if isinstance(value, float) and value.is_integer():
    value = int(value)
  if isinstance(value, bool) or not isinstance(value, int | str):
    raise ValueError(
      f'an id must be a whole number or text, got {printable(repr(value))}.'
    )
  return str(value)


def _find(path: pathlib.Path, split: str) -> tuple[pathlib.Path, pathlib.Path]:
  """Returns the file of annotations, and the folder of the images."""
  names = _NAMES[split]
  candidates = [
    (path / file.format(split=name), path / images.format(split=name))
    for name in names
    for file, images in _LAYOUTS
  ]
  candidates += [
    (path.with_name(f'{path.name}_{name}.json'), path.parent) for name in names
  ]
  for file, images in candidates:
    if file.exists():
      return file, images
  raise ValueError(
    f'there are no annotations of {split} images for coco:{path}: looked for '
    f'{", ".join(str(file) for file, _ in candidates)}.'
  )
