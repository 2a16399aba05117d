"""PyTorch files read without PyTorch: accepted and rejected content."""

import collections
import sys

import numpy as np
import pytest

from kdjax import convert
from tests.convert import torch_writer as writer

ARRAYS = {
  'conv.weight': np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
  'conv.bias': np.array([0.5, -1], np.float16),
  'bn.num_batches_tracked': np.array(3),
}
STORAGES = writer.numbered(ARRAYS)
STATE = writer.state_dict(ARRAYS)
WRITERS = pytest.mark.parametrize('write', [writer.zipped, writer.legacy])


def read(tmp_path, content: bytes):
  path = tmp_path / 'weights.bin'
  path.write_bytes(content)
  return convert.read(path)


def expect_arrays(got, want):
  assert list(got) == list(want)
  for name, array in want.items():
    np.testing.assert_array_equal(got[name], array)
    assert got[name].dtype == array.dtype


@WRITERS
def test_state_dict_is_read_without_pytorch(tmp_path, write, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)  # cannot be imported
  expect_arrays(read(tmp_path, write(STATE, STORAGES)), ARRAYS)


@WRITERS
def test_state_dict_is_extracted_from_a_checkpoint(tmp_path, write):
  momentum = writer.tensor(STORAGES['1'], '1')
  content = writer.mapping(
    {
      'epoch': writer.value(240),
      'best_acc': writer.call(  # a NumPy scalar, as many training loops save
        writer.name('numpy.core.multiarray', 'scalar'),
        writer.call(writer.name('numpy', 'dtype'), writer.value('f8')),
        writer.value(np.float64(0.75).tobytes()),
      ),
      'milestones': writer.value(collections.Counter([150, 180])),
      'seen': writer.value({1, 2}),
      'model': STATE,
      'optimizer': writer.mapping({'momentum': momentum}),
    }
  )
  expect_arrays(read(tmp_path, write(content, STORAGES)), ARRAYS)


@WRITERS
def test_views_of_a_shared_storage_are_read(tmp_path, write):
  base = np.arange(10, dtype=np.float32)
  content = writer.mapping(
    {
      'a': writer.tensor(base, '0', shape=(2, 2)),
      'b': writer.tensor(base, '0', shape=(3,), offset=7),
      'turned': writer.tensor(base, '0', shape=(2, 3), strides=(1, 2)),
      'repeated': writer.tensor(base, '0', shape=(3, 2), strides=(0, 1)),
      'none': writer.tensor(base, '0', shape=(0, 4)),
      'nothing': writer.tensor(base[:0], '1', shape=(0,)),
    }
  )
  want = {
    'a': base[:4].reshape(2, 2),
    'b': base[7:],
    'turned': base[:6].reshape(3, 2).T,
    'repeated': np.stack([base[:2]] * 3),
    'none': base[:0].reshape(0, 4),
    'nothing': base[:0],
  }
  content = write(content, {'0': base, '1': base[:0]})
  expect_arrays(read(tmp_path, content), want)


@pytest.mark.parametrize(
  ('instructions', 'message'),
  [
    (writer.name('builtins', 'eval'), r'names builtins\.eval,'),
    (writer.name('torch.nn', 'Linear'), r'names torch\.nn\.Linear,'),
    (b'chidden\n\x1b[2J\n', r"names 'hidden\.\\x1b\[2J',"),
    # Attributes of a known name cannot be set.
    (writer.name('torch', 'Size') + b'}b', 'needs a dict, got a Function'),
    (b'(K\x01K\x02t)R', 'needs a Function, got a tuple'),
    (
      writer.call(writer.name('torch', 'float16')),
      'needs a Function, got a str',
    ),
    (b'})s', 'IndexError'),
    (b'}(((K\x01ttK\x02u', 'a key is a tuple'),
    (
      writer.call(
        writer.name('_codecs', 'encode'),
        writer.value('x'),
        writer.value('zlib'),
      ),
      'encodes text by zlib',
    ),
    (b'(Vmodule\nK\x01tQ', 'refers to something that is not a storage'),
    (writer.value([1, 2]), 'expected one state dict, got a list'),
    (
      writer.value({'epoch': 1}),
      'expected one state dict, got a dict of epoch',
    ),
  ],
)
@WRITERS
def test_other_instructions_and_objects_raise_an_error(
  tmp_path, write, instructions, message
):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, write(instructions, STORAGES))


_BASE = np.arange(6, dtype=np.float32)


@pytest.mark.parametrize(
  ('made', 'message'),
  [
    (writer.tensor(_BASE, '0', shape=(7,)), 'beyond its storage of 6'),
    (writer.tensor(_BASE, '0', offset=1), 'beyond its storage of 6'),
    (writer.tensor(_BASE, '0', offset=-1), 'invalid size'),
    (writer.tensor(_BASE, '0', shape=(-6,)), 'invalid size'),
    (writer.tensor(_BASE, '0', shape=(7,), numbers=7), '7 .*numbers'),
    (writer.tensor(_BASE, '0', shape=(10**15,), numbers=10**15), 'numbers'),
    (writer.tensor(_BASE, '0', shape=(10**19,)), 'invalid size'),
    (writer.tensor(_BASE, '0', shape=(1,) * 65), 'has 65 dimensions'),
    (writer.tensor(_BASE, '0', shape=(2, 3), strides=(3,)), '2 sizes, 1 str'),
    (writer.tensor(_BASE, '0', shape=(2, 3), strides=(-3, 1)), 'invalid size'),
    (writer.tensor(_BASE, '0', shape=(2, 3), strides=(4, 1)), 'beyond its'),
    (writer.tensor(_BASE, '0', numbers=-1), 'beyond its storage of -1'),
    (writer.tensor(_BASE, '1'), 'storage 1 is missing|storage 0 belongs'),
    (
      writer.tensor(_BASE, '0', view=writer.value(('1', 0, 3))),
      'view of another',
    ),
  ],
)
@WRITERS
def test_inconsistent_sizes_raise_an_error(tmp_path, write, made, message):
  content = writer.mapping({'w': made})
  with pytest.raises(ValueError, match=message):
    read(tmp_path, write(content, {'0': _BASE}))


@WRITERS
def test_files_truncated_at_any_byte_raise_an_error(tmp_path, write):
  whole = write(STATE, STORAGES)
  for length in range(20, len(whole), 97):
    with pytest.raises(ValueError, match=r'weights\.bin cannot be read'):
      read(tmp_path, whole[:length])


def test_truncated_zip_is_called_truncated(tmp_path):
  whole = writer.zipped(STATE, STORAGES)
  with pytest.raises(
    ValueError, match='zip archive but is truncated or damaged'
  ):
    read(tmp_path, whole[:-100])


def test_flipped_bytes_fail_the_checksum(tmp_path):
  whole = bytearray(writer.zipped(STATE, STORAGES))
  start = whole.index(ARRAYS['conv.weight'].tobytes())
  whole[start + 5] ^= 255
  with pytest.raises(ValueError, match='CRC'):
    read(tmp_path, bytes(whole))


def test_big_endian_files_raise_an_error(tmp_path):
  with pytest.raises(ValueError, match='big-endian'):
    read(tmp_path, writer.zipped(STATE, STORAGES, byteorder=b'big'))
  with pytest.raises(ValueError, match='big-endian'):
    read(tmp_path, writer.legacy(STATE, STORAGES, little_endian=False))


def test_torchscript_raises_an_error(tmp_path):
  content = writer.zipped(STATE, STORAGES, **{'constants.pkl': b''})
  with pytest.raises(ValueError, match='TorchScript'):
    read(tmp_path, content)


class TestAgainstPyTorch:
  """Files written by PyTorch."""

  @pytest.fixture
  def torch(self):
    return pytest.importorskip('torch', reason='PyTorch is not installed')

  @pytest.mark.parametrize('as_zip', [True, False])
  @pytest.mark.parametrize('protocol', [2, 5])
  def test_saved_module_is_read(self, tmp_path, torch, as_zip, protocol):
    module = torch.nn.Sequential(
      torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
    )
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    module(torch.ones(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    torch.save(
      {
        'model': torch.nn.DataParallel(module).state_dict(),
        'optimizer': optimizer.state_dict(),
        'device': torch.device('cpu'),
        'shape': torch.Size([3, 4]),
        'dtype': torch.float16,
        'best': np.float64(0.5),
        'best_acc': torch.tensor(0.5),
        'phases': torch.ones(3, dtype=torch.complex64),
        'losses': collections.defaultdict(list, {'train': [0.5]}),
        'seen': {1, 2},
        'frozen': frozenset((1, 2)),
      },
      tmp_path / 'file',
      pickle_protocol=protocol,
      _use_new_zipfile_serialization=as_zip,
    )
    want = {
      f'module.{name}': tensor.numpy()
      for name, tensor in module.state_dict().items()
    }
    expect_arrays(convert.read(tmp_path / 'file'), want)

  @pytest.mark.parametrize('as_zip', [True, False])
  @pytest.mark.parametrize(
    'dtype', ['float64', 'float16', 'bfloat16', 'int8', 'bool']
  )
  def test_dtypes_and_views_are_read(self, tmp_path, torch, as_zip, dtype):
    base = torch.arange(24).to(getattr(torch, dtype)).reshape(4, 6)
    state = {
      'turned': base.T,
      'part': base[1:3, ::2],
      'p': base[0, 0],
      'repeated': base[0].expand(3, 6),
      'last': base.reshape(2, 3, 2, 2).to(memory_format=torch.channels_last),
    }
    if dtype.startswith(('f', 'bf')):
      state['p'] = torch.nn.Parameter(base[0, 0])
    torch.save(state, tmp_path / 'file', _use_new_zipfile_serialization=as_zip)
    got = convert.read(tmp_path / 'file')
    for name, tensor in state.items():
      want = tensor.detach().to(torch.float64).numpy()
      np.testing.assert_array_equal(got[name].astype(np.float64), want)
      assert got[name].dtype.name == dtype

  def test_pickled_module_raises_an_error_with_its_class(self, tmp_path, torch):
    torch.save(torch.nn.Linear(2, 3), tmp_path / 'file')
    with pytest.raises(ValueError, match=r'names torch\.nn\.modules\.linear'):
      convert.read(tmp_path / 'file')
