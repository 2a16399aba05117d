"""Image datasets, in memory or streamed, and augmentation inside jit.

Start with `load('digits')`, `load('cifar100')` or `load('folder:PATH')`; or
with `load_imagenet('folder:PATH')` and `load_multi_label('voc2007')`, whose
images stay on disk.
"""

from kdjax.data.arrays import from_arrays
from kdjax.data.augment import Augmentation, to_float
from kdjax.data.channels import Channels
from kdjax.data.color import ColorJitter
from kdjax.data.dataset import Dataset
from kdjax.data.errors import DataUnavailableError
from kdjax.data.limit import limit_per_class
from kdjax.data.load import load
from kdjax.data.order import batch_order
from kdjax.data.split import Split
from kdjax.data.stream.batches import Stream
from kdjax.data.stream.dataset import StreamedDataset
from kdjax.data.stream.imagenet import load_imagenet, unread_imagenet
from kdjax.data.stream.multi_label import load_multi_label
from kdjax.data.stream.reading import Reading
from kdjax.data.stream.split import StreamedSplit
from kdjax.data.stream.views import CenterCrop, RandomResizedCrop, View, Whole

__all__ = [
  'Augmentation',
  'CenterCrop',
  'Channels',
  'ColorJitter',
  'DataUnavailableError',
  'Dataset',
  'RandomResizedCrop',
  'Reading',
  'Split',
  'Stream',
  'StreamedDataset',
  'StreamedSplit',
  'View',
  'Whole',
  'batch_order',
  'from_arrays',
  'limit_per_class',
  'load',
  'load_imagenet',
  'load_multi_label',
  'to_float',
  'unread_imagenet',
]
