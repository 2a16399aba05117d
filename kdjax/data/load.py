"""Image sets by name: through TFDS, from a folder of images, from an .npz."""

import dataclasses
import difflib
import os
import pathlib

from kdjax.data.arrays import from_arrays, read_npz
from kdjax.data.augment import Augmentation
from kdjax.data.dataset import Dataset, Split, limit_per_class
from kdjax.data.folder import read_folder
from kdjax.data.resize import Size, resize_all
from kdjax.data.tfds import prepared


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """What the papers do with a set.

  Attributes:
    num_classes: Of its labels.
    size: Height and width of its images.
    mean: Subtracted from images in [0, 1], per channel.
    std: Divided by after that.
    augment: Of training batches; resized images have their share of its
      padding.
  """

  num_classes: int
  size: int
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
    size=32,
    mean=_CIFAR_MEAN,
    std=_CIFAR_STD,
    augment=_CROP_AND_FLIP,
  ),
  'cifar100': Recipe(
    num_classes=100,
    size=32,
    mean=_CIFAR_MEAN,
    std=_CIFAR_STD,
    augment=_CROP_AND_FLIP,
  ),
  # Grey levels of the training images; a digit is not its mirror image.
  'digits': Recipe(
    num_classes=10,
    size=8,
    mean=(0.3049,),
    std=(0.3754,),
    augment=Augmentation(crop_padding=1),
  ),
  # Constants of the two sets that ICD's students are probed on, at 32x32.
  'stl10': Recipe(
    num_classes=10,
    size=96,
    mean=(0.4467, 0.4398, 0.4066),
    std=(0.2603, 0.2566, 0.2712),
    augment=Augmentation(crop_padding=12, flip=True),
  ),
  'tiny_imagenet': Recipe(
    num_classes=200,
    size=64,
    mean=(0.4802, 0.4481, 0.3975),
    std=(0.2770, 0.2691, 0.2821),
    augment=Augmentation(crop_padding=8, flip=True),
  ),
  # KD²M mirrors these too, though a house number is not its mirror image.
  'svhn_cropped': Recipe(
    num_classes=10,
    size=32,
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
  size: Size | None = None,
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
    size: Height and width that all images are resized to; as they are if not
      given.

  Raises:
    ValueError: If there is no such set, or its parts do not fit each other.
    DataUnavailableError: (a ValueError) If it can be neither read nor
      downloaded.
  """
  kind, _, path = name.partition(':')
  if path and kind in ('folder', 'npz'):
    source = pathlib.Path(path).expanduser()
    read = read_folder if kind == 'folder' else read_npz
    dataset = _resized(read(name, source), size)
  elif name in RECIPES:
    root = prepared.data_folder(data_dir)
    dataset = _from_tfds(name, root, size)
  else:
    raise ValueError(_unknown(name))
  if limit is None:
    return dataset
  train = limit_per_class(dataset.train, limit, limit_seed)
  return dataclasses.replace(dataset, train=train)


def _from_tfds(name: str, data_dir: pathlib.Path, size: Size | None) -> Dataset:
  recipe = RECIPES[name]
  folder = prepared.find_or_prepare(data_dir, name)
  if size == (recipe.size, recipe.size):
    size = None  # so that their arrays are kept once
  arrays, names = prepared.load_arrays(folder, size)
  height = arrays['train_images'].shape[1]
  padding = recipe.augment.crop_padding * height // recipe.size
  return Dataset(
    name=name,
    train=Split(arrays['train_images'], arrays['train_labels']),
    test=Split(arrays['test_images'], arrays['test_labels']),
    num_classes=len(names) or recipe.num_classes,
    class_names=names or tuple(map(str, range(recipe.num_classes))),
    mean=recipe.mean,
    std=recipe.std,
    augment=dataclasses.replace(recipe.augment, crop_padding=padding),
  )


def _resized(dataset: Dataset, size: Size | None) -> Dataset:
  """A user's own set at another size, with the statistics that has."""
  if size is None or dataset.image_shape[:2] == size:
    return dataset
  train, test = dataset.train, dataset.test
  return from_arrays(
    dataset.name,
    resize_all(train.images, size),
    train.labels,
    resize_all(test.images, size),
    test.labels,
    class_names=dataset.class_names,
  )


def _unknown(name: str) -> str:
  known = [*RECIPES, 'folder:PATH', 'npz:PATH']
  near = difflib.get_close_matches(name, known, cutoff=0.5)
  hint = f' Did you mean {" or ".join(near)}?' if near else ''
  return f'there is no data set {name!r}.{hint} Known: {", ".join(known)}.'
