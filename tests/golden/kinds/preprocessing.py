"""`preprocessing`: torchvision's evaluation view of an image, pixel by pixel.

`tests.golden.make_imagenet_networks` makes the file. Pixels are integers and
must be equal; normalized images are float32.
"""

import io
import pathlib

import numpy as np
from PIL import Image

from kdjax import models
from kdjax.convert.normalization import Normalization, normalization
from kdjax.data.images import EncodedImage
from kdjax.data.stream.views import CenterCrop
from tests.golden import hashed
from tests.golden.comparison import Comparison, Stored, compare, not_compared

_EXACT, _FLOAT32 = 1e-14, 1e-6  # sums of pixels; float32 of each


def check(path: pathlib.Path) -> list[Comparison]:
  """Compares every stored view."""
  stored = Stored.read(path)
  results = []
  views = [_view(*map(int, case)) for case in stored['crops']]
  for index, view in enumerate(views):
    key = f'crop_{index}'
    got = hashed.summary(view, 'crop')
    size = stored[key][1]
    results.append(compare(key, got, stored[key], _EXACT, scale=size))
    key, last = f'corners_{index}', len(view) - 1
    results.append(compare(key, view[::last, ::last], stored[key], 0.0))
  got = hashed.summary(_normalized(views[5]), 'normalized')
  results.append(compare('normalized', got, stored['normalized'], _FLOAT32))
  return results + not_compared(stored, results, ('crops',))


def _view(width: int, height: int, size: int, shorter: int) -> np.ndarray:
  """The evaluation view of an encoded image."""
  file = io.BytesIO()
  Image.fromarray(hashed.photograph(width, height)).save(file, 'png')
  image = EncodedImage(file.getvalue(), 'image')
  return CenterCrop((size, size), shorter)(image, np.random.default_rng(0))


def _normalized(view: np.ndarray) -> np.ndarray:
  """A view as a network with published weights sees it, [C, H, W]."""
  name, none = 'imagenet_resnet18', Normalization((0.0,) * 3, (1.0,) * 3)
  constants = normalization('published.safetensors', name, default=none)
  network = models.create(name, num_classes=2, **constants._asdict())
  images = np.float32(view)[None] / np.float32(255)
  return np.asarray(network.normalize(images))[0].transpose(2, 0, 1)
