"""Image sets by name: through TFDS, from a folder of images, from an .npz."""

import dataclasses
import difflib
import os
import pathlib

from kdjax.data import prepared
from kdjax.data.arrays import read_npz
from kdjax.data.augment import Augmentation
from kdjax.data.dataset import Dataset, Split, limit_per_class
from kdjax.data.folder import read_folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """What the papers do with a set.

  Attributes:
    num_classes: Of its labels.
    mean: Subtracted from images in [0, 1], per channel.
    std: Divided by after that.
    augment: Of training batches.
  """

  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  augment: Augmentation


_CROP_AND_FLIP = Augmentation(crop_padding=4, flip=True)
# RepDistiller's constants, which KD²M also uses for CIFAR-10.
_CIFAR_MEAN = (0.5071, 0.4867, 0.4408)
_CIFAR_STD = (0.2675, 0.2565, 0.2761)

RECIPES = {
  'cifar10': Recipe(
    num_classes=10,
    mean=_CIFAR_MEAN,
    std=_CIFAR_STD,
    augment=_CROP_AND_FLIP,
  ),
  'cifar100': Recipe(
    num_classes=100,
    mean=_CIFAR_MEAN,
    std=_CIFAR_STD,
    augment=_CROP_AND_FLIP,
  ),
  # Grey levels of the training images; a digit is not its mirror image.
  'digits': Recipe(
    num_classes=10,
    mean=(0.3049,),
    std=(0.3754,),
    augment=Augmentation(crop_padding=1),
  ),
  # KD²M mirrors these too, though a house number is not its mirror image.
  'svhn_cropped': Recipe(
    num_classes=10,
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    augment=_CROP_AND_FLIP,
  ),
}


def load(
  name: str,
  *,
  data_dir: str | os.PathLike[str] | None = None,
  limit: int | None = None,
  limit_seed: int = 0,
) -> Dataset:
  """An image set, decoded, in memory.

  A set of TFDS is read where it is prepared, with or without TensorFlow; if it
  is not, it is downloaded and prepared there as array_record. Its images are
  decoded once and kept as arrays in the prepared folder.

  Args:
    name: One of `RECIPES`; or `folder:PATH`, with the images in
      `PATH/train/CLASS/` and `PATH/test/CLASS/` (or `PATH/val/CLASS/`); or
      `npz:PATH`, with the arrays `x_train`, `y_train`, `x_test`, `y_test`. See
      `read_folder` and `read_npz`.
    data_dir: TFDS's folder of sets; `TFDS_DATA_DIR` or `~/tensorflow_datasets`
      if not given.
    limit: Training images per class; all if not given.
    limit_seed: Which ones.

  Raises:
    ValueError: If there is no such set, or its parts do not fit each other.
    DataUnavailableError: (a ValueError) If it can be neither read nor
      downloaded.
  """
  kind, _, path = name.partition(':')
  if path and kind in ('folder', 'npz'):
    source = pathlib.Path(path).expanduser()
    read = read_folder if kind == 'folder' else read_npz
    dataset = read(name, source)
  elif name in RECIPES:
    root = prepared.default_data_dir()
    if data_dir is not None:
      root = pathlib.Path(data_dir).expanduser()
    dataset = _from_tfds(name, root)
  else:
    raise ValueError(_unknown(name))
  if limit is None:
    return dataset
  train = limit_per_class(dataset.train, limit, limit_seed)
  return dataclasses.replace(dataset, train=train)


def _from_tfds(name: str, data_dir: pathlib.Path) -> Dataset:
  recipe = RECIPES[name]
  folder = prepared.find_or_prepare(data_dir, name)
  arrays, names = prepared.load_arrays(folder)
  return Dataset(
    name=name,
    train=Split(arrays['train_images'], arrays['train_labels']),
    test=Split(arrays['test_images'], arrays['test_labels']),
    num_classes=recipe.num_classes,
    class_names=names or tuple(map(str, range(recipe.num_classes))),
    mean=recipe.mean,
    std=recipe.std,
    augment=recipe.augment,
  )


def _unknown(name: str) -> str:
  known = [*RECIPES, 'folder:PATH', 'npz:PATH']
  near = difflib.get_close_matches(name, known, cutoff=0.5)
  hint = f' Did you mean {" or ".join(near)}?' if near else ''
  return f'there is no data set {name!r}.{hint} Known: {", ".join(known)}.'
