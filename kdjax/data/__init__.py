"""Image sets in memory, and their augmentation inside jit.

Start with `load('digits')`, `load('cifar100')`, `load('folder:PATH')`.
"""

from kdjax.data.arrays import from_arrays
from kdjax.data.augment import Augmentation, to_float
from kdjax.data.dataset import Dataset, Split, limit_per_class
from kdjax.data.errors import DataUnavailableError
from kdjax.data.load import load
from kdjax.data.resident import batch_order

__all__ = [
  'Augmentation',
  'DataUnavailableError',
  'Dataset',
  'Split',
  'batch_order',
  'from_arrays',
  'limit_per_class',
  'load',
  'to_float',
]
