"""Hashes detect stored arrays that differ from the saved ones."""

import json
import random

import ml_dtypes
import numpy as np
import pytest

from benchmarks import bit_flips
from kdjax import convert
from kdjax.runtime import array_hashes, checkpoints

TREE = {
  'kernel': np.arange(6, dtype=np.float32).reshape(2, 3),
  'half': np.ones(2, ml_dtypes.bfloat16),
  'step': np.int32(3),
  'none': np.zeros((0, 2), np.float32),
}
HASHES = array_hashes.metadata(TREE)['sha256']


def test_saved_arrays_pass_the_check():
  array_hashes.check(TREE, HASHES)
  transposed = np.asfortranarray(TREE['kernel'])  # the order in memory is free
  array_hashes.check({**TREE, 'kernel': transposed}, HASHES)


@pytest.mark.parametrize(
  ('name', 'array'),
  [
    ('kernel', np.float32([[0, 1, 2], [3, 4, np.nextafter(np.float32(5), 6)]])),
    ('kernel', np.float32([[-0.0, 1, 2], [3, 4, 5]])),
    ('kernel', TREE['kernel'].reshape(3, 2)),
    ('kernel', TREE['kernel'].view(np.int32)),
    ('half', np.ones(2, np.float16).view(ml_dtypes.bfloat16)),
    ('step', np.int32(4)),
    ('step', np.int64(3)),
    ('none', np.zeros((0, 3), np.float32)),
  ],
)
def test_changed_value_shape_or_dtype_raises_an_error(name, array):
  with pytest.raises(array_hashes.DamagedError, match=name):
    array_hashes.check({**TREE, name: array}, HASHES)


def test_missing_and_additional_arrays_raise_an_error():
  fewer = {name: array for name, array in TREE.items() if name != 'half'}
  with pytest.raises(array_hashes.DamagedError, match='half'):
    array_hashes.check(fewer, HASHES)
  with pytest.raises(array_hashes.DamagedError, match='more'):
    array_hashes.check({**TREE, 'more': np.ones(1)}, HASHES)


@pytest.mark.parametrize('reader', ['checkpoint', 'teacher', 'student'])
def test_flipped_bits_are_detected_or_harmless(tmp_path, reader):
  folder, read, expected = bit_flips.readers(tmp_path, 'resnet8')[reader]
  assert bit_flips.equal(read(folder), expected)
  outcomes = [
    bit_flips.trial(folder, read, expected, random.Random(seed))
    for seed in range(12)
  ]
  assert 'undetected' not in outcomes
  assert outcomes.count('refused') > 6  # most bytes are those of arrays
  assert bit_flips.equal(read(folder), expected)  # repaired


def test_damaged_hashes_raise_an_error(tmp_path):
  variables = {'params': {'kernel': np.ones((2, 2), np.float32)}}
  checkpoints.save_variables(tmp_path, variables)
  path = tmp_path / '_CHECKPOINT_METADATA'
  saved = json.loads(path.read_text())
  saved['custom_metadata'] = {'sha255': saved['custom_metadata']['sha256']}
  path.write_text(json.dumps(saved))
  with pytest.raises(
    ValueError, match='_METADATA is damaged: it has no sha256'
  ):
    checkpoints.load_variables(tmp_path, variables)
  with pytest.raises(ValueError, match=r'cannot be read: .* is damaged'):
    convert.read(tmp_path)


def test_variables_are_loaded_in_the_expected_dtype(tmp_path):
  variables = {'kernel': np.float32([1.5, 2.25])}
  checkpoints.save_variables(tmp_path, variables)
  like = {'kernel': np.zeros(2, ml_dtypes.bfloat16)}
  loaded = checkpoints.load_variables(tmp_path, like)
  assert loaded['kernel'].dtype == ml_dtypes.bfloat16
  np.testing.assert_array_equal(loaded['kernel'], variables['kernel'])


@pytest.mark.parametrize('reader', ['teacher', 'student'])
def test_weights_without_hashes_are_refused(tmp_path, reader):
  folder, read, _ = bit_flips.readers(tmp_path, 'resnet8')[reader]
  (folder / '_CHECKPOINT_METADATA').unlink()
  with pytest.raises(ValueError, match='has lost its hashes'):
    read(folder)


def test_a_checkpoint_without_hashes_is_not_used(tmp_path):
  folder, read, _ = bit_flips.readers(tmp_path, 'resnet8')['checkpoint']
  (folder / '_CHECKPOINT_METADATA').unlink()
  assert read(folder) is None  # the previous one
