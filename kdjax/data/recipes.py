"""Published settings of the datasets by name."""

import dataclasses

from kdjax.data.augment import Augmentation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """Published settings of a dataset.

  Attributes:
    num_classes: Number of classes.
    size: Height and width of the images.
    mean: Per channel, of images in [0, 1]; networks subtract it.
    std: Standard deviation per channel, by which networks divide.
    augment: Augmentation of training batches; if images are resized, its
      padding is scaled with them.
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
  # Statistics of the training images; no flip, which would change digits.
  'digits': Recipe(
    num_classes=10,
    size=8,
    mean=(0.3049,),
    std=(0.3754,),
    augment=Augmentation(crop_padding=1),
  ),
  # The two datasets that ICD evaluates transfer on, at 32x32.
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
  # KD²M flips these, too, although a flip changes house numbers.
  'svhn_cropped': Recipe(
    num_classes=10,
    size=32,
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    augment=_CROP_AND_FLIP,
  ),
}
