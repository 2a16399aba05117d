"""Images of another size."""

import numpy as np
from PIL import Image

Size = tuple[int, int]  # height and width


def resize(image: Image.Image, size: Size) -> Image.Image:
  """One image at another size, if it has another.

  Bilinear over all pixels that a new one covers, so that nothing aliases: what
  torchvision's `Resize` does to images of Pillow.
  """
  height, width = size
  if image.size == (width, height):
    return image
  return image.resize((width, height), Image.Resampling.BILINEAR)


def resize_all(images: np.ndarray, size: Size) -> np.ndarray:
  """uint8 `[N, H, W, C]` of one or three channels, at another size."""
  grey = images.shape[-1] == 1
  made = [
    np.asarray(resize(Image.fromarray(image[..., 0] if grey else image), size))
    for image in images
  ]
  return np.stack(made)[..., None] if grey else np.stack(made)
