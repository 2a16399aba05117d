"""Weights from and for other libraries: formats, names and array layouts.

`load` reads a file of any known format into a network's variables, and `read`
returns its arrays as they are. `normalization` and `described` return what is
known about them. `save_safetensors` and `save_stablehlo` write files.
"""

from kdjax.convert.files import read
from kdjax.convert.load import load
from kdjax.convert.normalization import Normalization, described, normalization
from kdjax.convert.save import save_safetensors, save_stablehlo

__all__ = [
  'Normalization',
  'described',
  'load',
  'normalization',
  'read',
  'save_safetensors',
  'save_stablehlo',
]
