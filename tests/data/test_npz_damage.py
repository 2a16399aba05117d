"""Damaged and hostile .npz files: one line that names the file, in no time."""

import io
import os
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from kdjax import data
from kdjax.runtime import memory
from tests.data.test_arrays import arrays


def member(array):
  file = io.BytesIO()
  np.save(file, array)
  return file.getvalue()


def header(shape, dtype='|u1'):
  file = io.BytesIO()
  said = {'descr': dtype, 'fortran_order': False, 'shape': shape}
  np.lib.format.write_array_header_1_0(file, said)
  return file.getvalue()


def archive(changes=(), compression=zipfile.ZIP_STORED):
  """An .npz file of `arrays()` with changed or added members."""
  members = {f'{name}.npy': member(array) for name, array in arrays().items()}
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', compression) as out:
    for name, content in {**members, **dict(changes)}.items():
      out.writestr(name, content)
  return bytearray(file.getvalue())


@pytest.fixture
def refuses(tmp_path):
  """Asserts that content is refused in one line, quickly and in little room."""
  path = tmp_path / 'set.npz'

  def check(content, match='', most=2**23):
    if content is not None:
      path.write_bytes(content)
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(ValueError, match=match) as error:
      data.load(f'npz:{path}')
    assert time.monotonic() - started < 5
    assert tracemalloc.get_traced_memory()[1] < most
    tracemalloc.stop()
    text = str(error.value)
    assert str(path) in text
    assert len(text.splitlines()) == 1
    assert len(text) < 700

  check.path = path
  return check


def test_headers_that_claim_terabytes(refuses):
  for shape in ((8, 10**7, 10**6, 8), (2**62,), (2**40, 2**40)):
    refuses(archive({'x_train.npy': header(shape) + b'x'}), 'but has')
  claim = header((10**15,), '<U0') + b'x'
  refuses(archive({'class_names.npy': claim}), 'but has')


@pytest.mark.slow
def test_a_bomb_of_zeros(refuses):
  zeros = header((20, 2**12, 2**12, 3)) + bytes(20 * 2**24 * 3)
  content = archive({'x_train.npy': zeros}, zipfile.ZIP_DEFLATED)
  assert len(content) < 2**21
  refuses(content, 'possible memory bomb')


def test_more_than_the_memory(refuses, monkeypatch):
  monkeypatch.setattr(memory, 'host_memory', lambda: 1000)
  refuses(archive(), 'its content would take .* GB of memory')


@pytest.mark.parametrize('name', ['../x.npy', '/x.npy', 'a/../../x.npy', '..'])
def test_members_outside_of_the_archive(refuses, name):
  refuses(archive({name: member(np.zeros(3))}), 'path out of the archive')


def test_encrypted_members(refuses):
  content = archive()
  for start in (b'PK\x03\x04', b'PK\x01\x02'):
    place = -1
    while (place := content.find(start, place + 1)) >= 0:
      content[place + (6 if start[2] == 3 else 8)] |= 1
  refuses(content, r'x_train\.npy is encrypted')


@pytest.mark.parametrize('method', [1, 12, 14, 93, 97, 99])
def test_other_compressions(refuses, method):
  content = archive()
  for start, offset in ((b'PK\x03\x04', 8), (b'PK\x01\x02', 10)):
    place = content.find(start)
    content[place + offset : place + offset + 2] = struct.pack('<H', method)
  refuses(content, f'compressed by method {method}')


def test_python_objects(refuses):
  # NumPy would run them.
  content = header((1,), '|O') + b'cos\nsystem\n'
  refuses(archive({'x_train.npy': content}), 'holds Python objects')


@pytest.mark.filterwarnings('ignore:Reading `.npy`')
@pytest.mark.parametrize(
  'content',
  [
    b'',
    b'no array',
    b'\x93NUMPY\x09\x00',
    b'\x93NUMPY\x01\x00\xff\xff{',
    b'\x93NUMPY\x01\x00\x10\x00' + b'(' * 16,
    b'\x93NUMPY\x01\x00\x10\x00' + b"{'descr': 7}    ",
    header((-1, 3)) + bytes(9),
    member(np.zeros(3, np.uint8)) + b'more',
  ],
)
def test_members_that_are_no_arrays(refuses, content):
  refuses(archive({'x_train.npy': content}), r'x_train\.npy')


@pytest.mark.filterwarnings('ignore:Reading `.npy`')
@pytest.mark.parametrize(
  'compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]
)
def test_a_flipped_bit_anywhere_is_noticed_or_harmless(refuses, compression):
  whole = archive(compression=compression)
  path = refuses.path
  path.write_bytes(whole)
  wanted = data.load(f'npz:{path}').fingerprint
  refused = 0
  for place in range(0, len(whole), max(1, len(whole) // 300)):
    content = whole.copy()
    content[place] ^= 1 << place % 8
    path.write_bytes(content)
    text = failure(path, wanted)
    if text:
      assert str(path) in text
      assert len(text.splitlines()) == 1
      refused += 1
  assert refused > 250


def failure(path, wanted):
  """What is said of a file, empty if it is as it was."""
  try:
    found = data.load(f'npz:{path}').fingerprint
  except ValueError as error:
    return str(error)
  assert found == wanted
  return ''


@pytest.mark.parametrize('keep', [0, 1, 4, 21, 100, 1000, -1, -20, -200])
def test_truncated_files(refuses, keep):
  refuses(archive()[:keep], 'cannot read')


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
def test_pipes_and_folders(refuses):
  os.mkfifo(refuses.path)
  refuses(None, 'not a regular file')
  refuses.path.unlink()
  refuses.path.mkdir()
  refuses(None, 'not a regular file')
  refuses.path.rmdir()
  refuses.path.symlink_to('/dev/zero')
  refuses(None, 'not a regular file')


def test_other_arrays_are_not_read(refuses):
  path = refuses.path
  np.savez(path, **arrays(), more=np.array([{}], object))
  assert len(data.load(f'npz:{path}').train) == 20
