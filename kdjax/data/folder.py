"""A user's own images, a folder per class."""

import collections
import concurrent.futures
import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps

from kdjax.data.arrays import from_arrays
from kdjax.data.dataset import Dataset

EXTENSIONS = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.ppm', '.webp')


def read_folder(name: str, path: pathlib.Path) -> Dataset:
  """Images in `PATH/train/CLASS/`, and `PATH/test/CLASS/` or `PATH/val/CLASS/`.

  Classes are the folders of `train`, sorted by name. Images become RGB (grey if
  all are) and, where sizes differ, are resized to the most frequent size of the
  training images, with a warning.

  Args:
    name: For the result and messages.
    path: The folder that holds `train`.

  Raises:
    ValueError: If a split is missing or empty, a test class is not among the
      training classes, or a file is no image.
  """
  train, test = list_images(name, path)
  size, mode = _common_form(name, train, test)
  classes = tuple(train)
  return from_arrays(
    name,
    *_decode_all(name, train, classes, size, mode),
    *_decode_all(name, test, classes, size, mode),
    class_names=classes,
  )


Listing = dict[str, list[pathlib.Path]]


def list_images(name: str, path: pathlib.Path) -> tuple[Listing, Listing]:
  """Training and test images of each class; both sorted by name.

  Args:
    name: For messages.
    path: See `read_folder`; a `test` without folders of classes is none where
      there is a `val`, as ImageNet's, whose labels are secret.

  Raises:
    ValueError: As `read_folder`, but for the files' contents.
  """
  test_dir, other = path / 'test', path / 'val'
  if not test_dir.is_dir() or (other.is_dir() and not _classes(test_dir)):
    test_dir = other
  train, test = (_list_split(name, d) for d in (path / 'train', test_dir))
  if strangers := sorted(test.keys() - train.keys()):
    raise ValueError(
      f'{name}: {test_dir} has classes that {path / "train"} has not: '
      f'{", ".join(strangers)}.'
    )
  return train, test


def _classes(folder: pathlib.Path) -> list[pathlib.Path]:
  if not folder.is_dir():
    return []
  return sorted(d for d in folder.iterdir() if d.is_dir() and d.name[0] != '.')


def _list_split(name: str, folder: pathlib.Path) -> Listing:
  if not folder.is_dir():
    raise ValueError(
      f'{name}: there is no folder {folder}. Wanted: train/CLASS/ and '
      'test/CLASS/ (or val/CLASS/), with the images of each class.'
    )
  found = {}
  for class_dir in _classes(folder):
    found[class_dir.name] = sorted(
      p for p in class_dir.iterdir() if p.suffix.lower() in EXTENSIONS
    )
  if empty := [label for label, images in found.items() if not images]:
    raise ValueError(
      f'{name}: no images ({", ".join(EXTENSIONS)}) of class '
      f'{", ".join(empty)} in {folder}.'
    )
  if not found:
    raise ValueError(f'{name}: {folder} holds no folders of classes.')
  return found


def _common_form(
  name: str, train: dict[str, list], test: dict[str, list]
) -> tuple[tuple[int, int], str]:
  """Width and height, and Pillow's mode, that all images are brought to."""
  sizes, modes = collections.Counter(), set()
  for split in (train, test):
    for path in (path for paths in split.values() for path in paths):
      image = _open_upright(name, path)
      sizes[image.size] += split is train
      modes.add(image.mode)
  size = max(sizes, key=lambda s: (sizes[s], s))
  if len(sizes) > 1:
    warnings.warn(
      f'{name}: images of {len(sizes)} sizes; all are resized to the most '
      f'frequent, {size[0]}x{size[1]}.',
      stacklevel=4,
    )
  return size, 'L' if modes <= {'1', 'L'} else 'RGB'


def _open_upright(
  name: str, path: pathlib.Path, mode: str | None = None
) -> Image.Image:
  """An image turned as its EXIF data say; decoded only if a mode is given."""
  try:
    with Image.open(path) as image:
      ImageOps.exif_transpose(image, in_place=True)
      return image.convert(mode) if mode else image
  except (OSError, SyntaxError) as error:  # SyntaxError: a broken PNG
    raise ValueError(f'{name}: cannot read {path}: {error}') from None


def _decode_all(
  name: str,
  found: dict[str, list],
  classes: tuple[str, ...],
  size: tuple[int, int],
  mode: str,
) -> tuple[np.ndarray, np.ndarray]:
  def decode(path: pathlib.Path) -> np.ndarray:
    image = _open_upright(name, path, mode)
    if image.size != size:
      image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)

  labels = [classes.index(label) for label in found for _ in found[label]]
  paths = [path for images in found.values() for path in images]
  with concurrent.futures.ThreadPoolExecutor() as pool:
    return np.stack(list(pool.map(decode, paths))), np.array(labels, np.int32)
