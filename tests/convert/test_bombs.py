"""Small files that would fill memory are rejected before it is allocated."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from kdjax import convert
from kdjax.convert.torch import pickles
from tests.convert import torch_writer as writer

BASE = np.arange(6, dtype=np.float32)
WRITERS = pytest.mark.parametrize('write', [writer.zipped, writer.legacy])
DICT = writer.name('collections', 'OrderedDict')


@pytest.fixture
def read(tmp_path):
  """`convert.read` of bytes, which checks the memory that it allocates."""

  def within(content: bytes):
    path = tmp_path / 'weights'
    path.write_bytes(content)
    tracemalloc.start()
    try:
      return convert.read(path)
    finally:
      _, most = tracemalloc.get_traced_memory()
      tracemalloc.stop()
      assert most < 50 * len(content) + 2**20

  return within


def repeated(made: bytes, times: int) -> bytes:
  """Returns instructions for a list that repeats an object `times` times."""
  return b'](' + made * times + b'e'


@pytest.mark.parametrize(
  ('large', 'copied'),
  [
    (writer.value({str(key): None for key in range(2000)}), DICT),
    (writer.value([[key, None] for key in range(2000)]), DICT),
    (writer.value(list(range(2000))), writer.name('builtins', 'set')),
    (writer.value(tuple(range(2000))), writer.name('torch', 'device')),
  ],
)
@WRITERS
def test_many_copies_of_a_large_object_raise_an_error(
  read, write, large, copied
):
  # `large` is entry 255 of the memo; each call on it takes a few bytes.
  once = large + b'r\xff\x00\x00\x000'
  call = copied + b'j\xff\x00\x00\x00\x85R'
  if copied.endswith(b'device\n'):
    call = copied + b'j\xff\x00\x00\x00R'
  with pytest.raises(
    ValueError, match='copy more data than the pickle contains'
  ):
    read(write(once + repeated(call, 10_000), {}))


@WRITERS
def test_many_copies_of_a_long_text_raise_an_error(read, write):
  once = writer.value('x' * 10_000) + b'r\xff\x00\x00\x000'
  call = writer.name('_codecs', 'encode') + b'j\xff\x00\x00\x00\x85R'
  with pytest.raises(
    ValueError, match='copy more data than the pickle contains'
  ):
    read(write(once + repeated(call, 2000), {}))


@WRITERS
def test_nested_shared_lists_are_not_expanded(read, write):
  # Expanded, the list would have 10 ** 1000 elements.
  deep = b'](NNNNNNNNNNe'
  for _ in range(1000):
    deep = deep + b'r\xff\x00\x00\x000](' + b'j\xff\x00\x00\x00' * 10 + b'e'
  with pytest.raises(ValueError, match='expected one state dict, got a list'):
    read(write(deep, {}))


@pytest.mark.slow
@WRITERS
@pytest.mark.parametrize('end', [b'K\x00s', b'0'])
def test_deep_nesting_raises_an_error(read, write, end):
  deep = b')' + b'\x85' * 100_000
  with pytest.raises(
    ValueError, match=r'a key is a tuple|expected one state dict'
  ):
    read(write(b'}' + deep + end, {}))


@pytest.mark.slow
def test_deep_nesting_in_storage_keys_raises_an_error(read):
  state = writer.state_dict({'w': BASE})
  whole = writer.legacy(state, {'0': BASE})
  listed = writer.program(writer.value(['0']))
  deep = writer.program(b'](' + b')' + b'\x85' * 100_000 + b'e')
  with pytest.raises(ValueError, match='needs a str, got a tuple'):
    read(whole.replace(listed, deep))


@WRITERS
def test_too_many_instructions_raise_an_error(read, write, monkeypatch):
  monkeypatch.setattr(pickles, '_MAX_INSTRUCTIONS', 1000)  # default: 5e6
  with pytest.raises(ValueError, match='more than 1000 instructions'):
    read(write(b'}' * 1000, {}))


@WRITERS
def test_zero_strides_cannot_expand_a_storage(read, write):
  # Strides of zero would expand six numbers to a huge tensor.
  made = writer.tensor(BASE, '0', shape=(10**6, 10**6), strides=(0, 0))
  with pytest.raises(ValueError, match='repeats the 6 numbers'):
    read(write(writer.mapping({'w': made}), {'0': BASE}))


@WRITERS
def test_views_of_one_storage_share_memory(read, write):
  base = np.ones(10_000, np.float32)
  views = {f'w{i}': writer.tensor(base, '0') for i in range(1000)}
  got = read(write(writer.mapping(views), {'0': base}))
  assert len(got) == 1000
  np.testing.assert_array_equal(got['w999'], base)


def header(shape, dtype='<f4') -> bytes:
  """Returns the header of a `.npy` file."""
  file = io.BytesIO()
  fields = {'descr': dtype, 'fortran_order': False, 'shape': shape}
  np.lib.format.write_array_header_1_0(file, fields)
  return file.getvalue()


def archive(members, compression=zipfile.ZIP_STORED) -> bytearray:
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', compression) as out:
    for name, content in members:
      out.writestr(name, content)
  return bytearray(file.getvalue())


def test_npz_with_extreme_compression_raises_an_error(read):
  zeros = bytes(2**18)
  members = [(f'{i}.npy', header((2**16,)) + zeros) for i in range(1025)]
  content = archive(members, zipfile.ZIP_DEFLATED)
  assert len(content) < 2**20
  with pytest.raises(
    ValueError, match=f'its {len(content)} bytes unpack to .*bomb'
  ):
    read(content)


def test_overlapping_zip_members_raise_an_error(read):
  content = archive([('a.npy', header((9,)) + bytes(36)), ('b.npy', b'x')])
  start = content.index(b'PK\x01\x02') + 20  # compressed size, in the directory
  content[start : start + 4] = (10**9).to_bytes(4, 'little')
  with pytest.raises(ValueError, match=r'members declare 10000000\d\d bytes'):
    read(bytes(content))


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize('name', ['w.npy', 'archive/data/0'])
def test_duplicate_zip_members_raise_an_error(read, name):
  content = header((1,)) + bytes(4)
  members = [('archive/data.pkl', b'N.')] if '/' in name else []
  members += [(name, content)] * 2
  with pytest.raises(ValueError, match=f'contains {name} 2 times'):
    read(archive(members))
