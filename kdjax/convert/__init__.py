"""Weights in and out: formats, names and layouts of other libraries.

`load` reads a file of any format into a network's variables, `read` gives its
arrays as they are, and `normalization` and `described` say what is known of
them. `save_safetensors` and `save_stablehlo` write.
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
