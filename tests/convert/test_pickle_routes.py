"""Pickles that would call functions are rejected and not executed."""

import io
import os
import pickle
import pickletools
import zipfile

import numpy as np
import pytest

from kdjax import convert
from tests.convert import torch_writer as writer

ARRAYS = {'conv.weight': np.arange(6, dtype=np.float32)}
STATE = writer.state_dict(ARRAYS)
STORAGES = writer.numbered(ARRAYS)


def read(tmp_path, content: bytes):
  path = tmp_path / 'weights.pth'
  path.write_bytes(content)
  return convert.read(path)


class Canary:
  """Creates a folder when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


class StatefulCanary:
  """Creates a folder when its state is set."""

  def __init__(self, path):
    self.path = str(path)

  def __setstate__(self, state):
    os.mkdir(state['path'])


@pytest.fixture
def canary_folder(tmp_path):
  """The folder that a canary creates; it must not exist after the test."""
  folder = tmp_path / 'canary'
  yield folder
  assert not folder.exists()


def working_canary(tmp_path, canary, protocol) -> bytes:
  """Returns a canary's pickle, after checking that it creates the folder."""
  folder = tmp_path / 'canary'
  pickled = pickle.dumps(canary(folder), protocol)
  pickle.loads(pickled)
  folder.rmdir()
  return pickled


CANARIES = pytest.mark.parametrize('canary', [Canary, StatefulCanary])
# The error names the called function, or the one that constructs the object.
NAMED = rf'names ({os.mkdir.__module__}\.mkdir|copy\w*\.\w+|{__name__}\.)'


@CANARIES
@pytest.mark.parametrize('protocol', range(6))
def test_plain_pickle_is_rejected(tmp_path, canary_folder, canary, protocol):
  with pytest.raises(ValueError, match=rf'weights\.pth .* {NAMED}'):
    read(tmp_path, working_canary(tmp_path, canary, protocol))


@CANARIES
@pytest.mark.parametrize('protocol', [2, 4])
@pytest.mark.parametrize('write', [writer.zipped, writer.legacy])
def test_call_next_to_a_state_dict_is_rejected(
  tmp_path, canary_folder, canary, protocol, write
):
  pickled = working_canary(tmp_path, canary, protocol)
  content = writer.mapping({'model': STATE, 'optimizer': pickled[2:-1]})
  with pytest.raises(ValueError, match=NAMED) as info:
    read(tmp_path, write(content, STORAGES))
  assert 'it was not executed' in str(info.value)


@pytest.mark.parametrize('index', range(5))
def test_call_in_any_pickle_of_a_legacy_file_is_rejected(
  tmp_path, canary_folder, index
):
  pickled = working_canary(tmp_path, Canary, 2)
  whole = writer.legacy(STATE, STORAGES)
  stream = io.BytesIO(whole)
  ends = [0]
  for _ in range(5):
    for _ in pickletools.genops(stream):
      pass
    ends.append(stream.tell())
  content = whole[: ends[index]] + pickled + whole[ends[index + 1] :]
  with pytest.raises(ValueError, match=NAMED):
    read(tmp_path, content)


def test_archive_with_a_second_pickle_is_rejected(tmp_path, canary_folder):
  file = io.BytesIO(writer.zipped(STATE, STORAGES))
  with zipfile.ZipFile(file, 'a') as archive:
    archive.writestr('other/data.pkl', working_canary(tmp_path, Canary, 2))
  with pytest.raises(ValueError, match='holds 2 pickles'):
    read(tmp_path, file.getvalue())


@pytest.mark.parametrize(
  ('instructions', 'message'),
  [
    (b'cbuiltins\neval\n(Vprint(1)\ntR', r'names builtins\.eval,'),
    (b'c__builtin__\nexec\n(Vprint(1)\ntR', r'names __builtin__\.exec,'),
    (b'cos\nsystem\n(Vtrue\ntR', r'names os\.system,'),
    (b'ctorch.hub\nload\n(Vx\ntR', r'names torch\.hub\.load,'),
    # A dotted name leads from a harmless object to a dangerous one.
    (b'ccollections\nOrderedDict.__init__\n', r'names collections\.OrderedD'),
    # Protocol 4 reads the name from the stack, here through the memo.
    (
      b'\x8c\x05posix\x940\x8c\x06system\x940h\x00h\x01\x93(Vtrue\ntR',
      r'names posix\.system,',
    ),
    (b'(S"true"\nios\nsystem\n', 'instruction INST os system'),
    (b'(cbuiltins\neval\nVprint(1)\no', r'names builtins\.eval,'),
    (b'(}K\x01o', 'instruction OBJ'),
    (b'}(K\x01K\x02\x81', 'instruction NEWOBJ'),
    (b'})}\x92', 'instruction NEWOBJ_EX'),
    (b'\x82\x01', 'instruction EXT1'),
    (b'\x83\x01\x00', 'instruction EXT2'),
    (b'\x84\x01\x00\x00\x00', 'instruction EXT4'),
    (b'Pstorage\n', 'instruction PERSID storage'),
    (b'Vposix.system\nQ', 'refers to something that is not a storage'),
    (b'\x97', 'instruction NEXT_BUFFER'),
    # Setting this attribute would redirect later calls.
    (b'ccollections\nOrderedDict\n}Vupdate\nK\x01sb', 'needs a dict, got a F'),
    (b'ctorch\nSize\n(]tRVx\nK\x01s', 'needs a dict|needs a tuple, got a list'),
    # A nested pickle is only bytes.
    (
      writer.call(
        writer.name('pickle', 'loads'), writer.value(pickle.dumps(print))
      ),
      r'names pickle\.loads,',
    ),
  ],
)
@pytest.mark.parametrize('write', [writer.zipped, writer.legacy])
def test_other_calling_instructions_are_rejected(
  tmp_path, write, instructions, message
):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, write(instructions, STORAGES))
