"""Formats of image files that are read, and the extensions of their names."""

from PIL import Image

# Only formats that Pillow decodes by itself: some others start another program
# (PostScript starts Ghostscript), or are recognized by nearly any contents.
_DECODED = (
  'AVIF',
  'BMP',
  'GIF',
  'JPEG',
  'JPEG2000',
  'PNG',
  'PPM',
  'TIFF',
  'WEBP',
)

# Asks Pillow for all formats that it was installed with.
_BY_EXTENSION = Image.registered_extensions()

FORMATS = tuple(name for name in _DECODED if name in Image.OPEN)
EXTENSIONS = tuple(
  sorted(each for each, form in _BY_EXTENSION.items() if form in FORMATS)
)
