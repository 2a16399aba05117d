"""Format detection by content, and damaged or inconsistent files."""

import io
import json
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from kdjax import convert
from kdjax.runtime.checkpoints import save_variables

ARRAYS = {'a': np.ones((2, 3), np.float32), 'b': np.zeros(4, np.float32)}


def read(tmp_path, content: bytes):
  path = tmp_path / 'weights'
  path.write_bytes(content)
  return convert.read(path)


def safetensors_with(header, data=bytes(40)) -> bytes:
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return len(text).to_bytes(8, 'little') + text + data


def entry(shape, start, stop, dtype='F32'):
  return {'dtype': dtype, 'shape': shape, 'data_offsets': [start, stop]}


def npz(**arrays) -> bytes:
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


def test_handwritten_safetensors_file_is_read(tmp_path):
  content = safetensors_with(
    {'a': entry([2, 3], 0, 24), 'b': entry([4], 24, 40)}
  )
  got = read(tmp_path, content)
  assert {name: array.shape for name, array in got.items()} == {
    'a': (2, 3),
    'b': (4,),
  }


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (
      safetensors_with({'a': entry([2, 3], 0, 40)}),
      r'a declares F32 \[2, 3\], which is 24 bytes, but its offsets 0 to 40 '
      'span 40',
    ),
    (
      safetensors_with({'a': entry([2, 3], 0, 24)}),
      'describes 24 bytes of arrays, but 40 follow',
    ),
    (
      safetensors_with({'a': entry([25], 0, 100)}),
      'describes 100 bytes of arrays, but 40 follow',
    ),
    (
      safetensors_with({'a': entry([6], 0, 24), 'b': entry([6], 16, 40)}),
      'b begins at byte 16; expected 24',
    ),
    (
      safetensors_with({'a': entry([-1], 0, 4)}),
      'a has an invalid size or offset',
    ),
    (safetensors_with({'a': entry([1], 4, 0)}), 'a declares'),
    (safetensors_with({'a': entry([40], 0, 40, 'F8')}), 'dtype F8'),
    (safetensors_with({'a': [1, 2]}), 'no valid entry for a'),
    (safetensors_with({'a': entry([1] * 65, 0, 4)}), 'a has 65 dimensions'),
    (
      safetensors_with({'a': entry([10**30], 0, 40)}),
      'a has an invalid size or offset',
    ),
    (
      safetensors_with({'a': entry([True], 0, 4)}),
      'a has an invalid size or offset',
    ),
    (safetensors_with({'a': entry([5], 0, 40)}), 'which is 20 bytes'),
    (safetensors_with({'a': entry([5], 0, 40, 'F64')}, bytes(0)), '40 bytes'),
    (
      safetensors_with(
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, '
        b'"a": {"dtype": "F32", "shape": [10], "data_offsets": [0, 40]}}'
      ),
      'contains a twice',
    ),
    (
      safetensors_with(b'{"a": {"shape": [9], "shape": [1]}}'),
      'contains shape twice',
    ),
    (safetensors_with({'\x1b[2J': 1}), r"no valid entry for '\\x1b\[2J'"),
    (safetensors_with(b'{"a": '), 'header is not JSON'),
    (safetensors_with(b'{' + b'[' * 100_000), 'header is not JSON'),
    (
      (10**15).to_bytes(8, 'little') + b'{}',
      'header declares 1000000000000000 bytes, but the file has 10',
    ),
  ],
)
def test_inconsistent_safetensors_header_raises_an_error(
  tmp_path, content, message
):
  with pytest.raises(ValueError, match=f'weights cannot be read: .*{message}'):
    read(tmp_path, content)


@pytest.mark.parametrize('metadata', [[1], 'text', {'kdjax': 3}])
def test_metadata_that_is_not_text_raises_an_error(tmp_path, metadata):
  path = tmp_path / 'weights'
  path.write_bytes(safetensors_with({'__metadata__': metadata}, b''))
  for read_ in (convert.described, convert.read):
    with pytest.raises(ValueError, match='weights cannot be read'):
      read_(path)


@pytest.mark.parametrize(
  'content', [b'\xff\xfe\x00', b'[' * 100_000, b'9' * 5000, b'{"mean": ']
)
def test_invalid_json_config_raises_an_error(tmp_path, content):
  (tmp_path / 'config.json').write_bytes(content)
  with pytest.raises(ValueError, match=r'config\.json is not readable JSON'):
    convert.described(tmp_path)


def test_truncated_safetensors_raises_an_error(tmp_path):
  whole = safetensors.numpy.save(ARRAYS)
  for length in range(9, len(whole), 13):
    with pytest.raises(ValueError, match='weights cannot be read'):
      read(tmp_path, whole[:length])


def test_npz_of_python_objects_raises_an_error(tmp_path):
  objects = np.array([{'a': 1}], dtype=object)
  with pytest.raises(ValueError, match=r'x\.npy holds Python objects'):
    read(tmp_path, npz(x=objects))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'shape': (10**15,)}, r'x\.npy declares float32 .* but has 9'),
    ({'shape': (-3,)}, 'negative'),
    ({'descr': 'O'}, r'x\.npy holds Python objects'),
    ({'descr': [('a', '<f4'), ('b', 'O')]}, r'x\.npy holds Python objects'),
    ({'descr': '<nonsense'}, 'descr is not a valid dtype'),
    ({'shape': '3'}, 'shape is not valid'),
    ({'shape': __import__}, 'Cannot parse header'),
    ({'more': 1}, 'does not contain the correct keys'),
  ],
)
def test_inconsistent_npz_header_raises_an_error(tmp_path, changes, message):
  fields = {'descr': '<f4', 'fortran_order': False, 'shape': (3,), **changes}
  header = f'{fields}\n'.encode()
  length = len(header).to_bytes(2, 'little')
  content = io.BytesIO()
  with zipfile.ZipFile(content, 'w') as archive:
    archive.writestr(
      'x.npy', b'\x93NUMPY\x01\x00' + length + header + bytes(12)
    )
  with pytest.raises(ValueError, match=message):
    read(tmp_path, content.getvalue())


def test_truncated_npz_raises_an_error(tmp_path):
  whole = npz(**ARRAYS)
  for length in (30, len(whole) // 2, len(whole) - 5):
    with pytest.raises(ValueError, match='truncated or damaged'):
      read(tmp_path, whole[:length])


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', 'not one of safetensors'),
    (b'hello world', 'not one of safetensors'),
    (b'\x80\x04N.', 'a plain pickle, which is not read'),
    (b'\x93NUMPY\x01\x00', 'a single .npy array'),
  ],
)
def test_unsupported_formats_raise_an_error(tmp_path, content, message):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, content)


def test_zip_without_weights_raises_an_error(tmp_path):
  content = io.BytesIO()
  with zipfile.ZipFile(content, 'w') as archive:
    archive.writestr('readme.txt', 'hello')
  with pytest.raises(
    ValueError, match='zip archive, but neither a PyTorch file nor'
  ):
    read(tmp_path, content.getvalue())


def test_unsupported_folder_and_missing_file_raise_errors(tmp_path):
  with pytest.raises(ValueError, match='neither a run folder nor an orbax'):
    convert.read(tmp_path)
  with pytest.raises(ValueError, match='nobody does not exist'):
    convert.read(tmp_path / 'nobody')


def test_orbax_folder_without_manifest_raises_an_error(tmp_path):
  (tmp_path / 'student').mkdir()
  (tmp_path / 'student' / '_METADATA').write_text('{')
  with pytest.raises(ValueError, match='student has no manifest'):
    convert.read(tmp_path)


@pytest.mark.parametrize('torn', ['manifest.ocdbt', 'd/*'])
def test_torn_orbax_folder_raises_an_error(tmp_path, torn):
  folder = tmp_path / 'student'
  names = [f'layer_{index}' for index in range(20)]
  save_variables(folder, {name: np.ones((8, 8), np.float32) for name in names})
  assert sorted(convert.read(tmp_path)) == sorted(names)
  for file in folder.glob(torn):
    file.write_bytes(file.read_bytes()[:9])
  with pytest.raises(ValueError, match='student is torn'):
    convert.read(tmp_path)
