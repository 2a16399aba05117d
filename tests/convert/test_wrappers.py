"""State dicts inside the wrappers that training loops save."""

import numpy as np
import pytest

from kdjax import convert
from tests.convert import torch_writer as writer

ARRAYS = {'conv.weight': np.arange(6, dtype=np.float32)}
STATE = writer.state_dict(ARRAYS)
SCALAR = np.array(75.5, np.float32)
# The scalar's storage has the key after that of the state dict's storage.
STORAGES = {**writer.numbered(ARRAYS), '1': SCALAR}
TENSOR = writer.tensor(SCALAR, '1')
EMPTY = b'}'
WRITERS = pytest.mark.parametrize('write', [writer.zipped, writer.legacy])


def read(tmp_path, write, entries):
  path = tmp_path / 'weights.pth'
  content = writer.mapping(entries)
  used = {
    key: array
    for key, array in STORAGES.items()
    if writer.tensor(array, key) in content
  }
  path.write_bytes(write(content, used))
  return convert.read(path)


@WRITERS
@pytest.mark.parametrize(
  'entries',
  [
    # RepDistiller; the accuracy is a tensor.
    {'epoch': writer.value(240), 'model': STATE, 'best_acc': TENSOR},
    {'best_acc': TENSOR, 'model': STATE, 'optimizer': EMPTY},
    # mdistiller.
    {'model': STATE, 'optimizer': EMPTY, 'best_acc': writer.value(75.5)},
    # PyTorch's ImageNet example and its derivatives.
    {'arch': writer.value('resnet18'), 'state_dict': STATE, 'a': TENSOR},
    {'model': writer.value('resnet18'), 'state_dict': STATE},
    {'model_state_dict': STATE, 'loss': TENSOR},
    {'net': STATE, 'acc': writer.value(91.0), 'epoch': writer.value(3)},
    {'module': STATE, 'dp_world_size': writer.value(4)},
    {'state_dict': writer.mapping({'model': STATE})},
    {'model': EMPTY, 'weights': STATE},
    # Averaged weights next to the weights, and alone.
    {'state_dict_ema': writer.mapping({'x': TENSOR}), 'state_dict': STATE},
    {'ema': STATE, 'updates': writer.value(7)},
    {'model_ema': STATE, 'scaler': EMPTY},
    # Under a custom key.
    {'epoch': writer.value(3), 'net_s': STATE, 'optimizer': EMPTY},
  ],
  ids=lambda entries: '-'.join(entries),
)
def test_state_dict_is_extracted_from_its_wrapper(tmp_path, write, entries):
  got = read(tmp_path, write, entries)
  assert list(got) == ['conv.weight']
  np.testing.assert_array_equal(got['conv.weight'], ARRAYS['conv.weight'])


@WRITERS
def test_wrapper_keys_may_also_be_layer_names(tmp_path, write):
  got = read(tmp_path, write, {'model.0.weight': TENSOR, 'net': TENSOR})
  assert list(got) == ['model.0.weight', 'net']


@WRITERS
@pytest.mark.parametrize(
  'entries',
  [
    {'epoch': b'N', 'student': STATE, 'teacher': STATE},
    {'epoch': b'N', 'student': b'N', 'teacher': EMPTY},
  ],
)
def test_missing_or_ambiguous_state_dict_lists_the_keys(
  tmp_path, write, entries
):
  with pytest.raises(ValueError, match='got a dict of epoch, student, teacher'):
    read(tmp_path, write, entries)
