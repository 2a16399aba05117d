"""Every way by which a pickle may call something: refused, and not taken."""

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
  """Makes a folder when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


class StatefulCanary:
  """Makes a folder when its state is set."""

  def __init__(self, path):
    self.path = str(path)

  def __setstate__(self, state):
    os.mkdir(state['path'])


@pytest.fixture
def grave(tmp_path):
  """The folder that a canary makes."""
  folder = tmp_path / 'canary'
  yield folder
  assert not folder.exists()


def sung(tmp_path, canary, protocol) -> bytes:
  """A canary's pickle, of which it is certain that it sings."""
  folder = tmp_path / 'canary'
  pickled = pickle.dumps(canary(folder), protocol)
  pickle.loads(pickled)
  folder.rmdir()
  return pickled


CANARIES = pytest.mark.parametrize('canary', [Canary, StatefulCanary])
# Where it is made; the second is named with what makes an object of a class.
NAMED = rf'names ({os.mkdir.__module__}\.mkdir|copy\w*\.\w+|{__name__}\.)'


@CANARIES
@pytest.mark.parametrize('protocol', range(6))
def test_plain_pickle(tmp_path, grave, canary, protocol):
  with pytest.raises(ValueError, match=rf'weights\.pth .* {NAMED}'):
    read(tmp_path, sung(tmp_path, canary, protocol))


@CANARIES
@pytest.mark.parametrize('protocol', [2, 4])
@pytest.mark.parametrize('write', [writer.zipped, writer.legacy])
def test_beside_a_state_dict(tmp_path, grave, canary, protocol, write):
  pickled = sung(tmp_path, canary, protocol)
  content = writer.mapping({'model': STATE, 'optimizer': pickled[2:-1]})
  with pytest.raises(ValueError, match=NAMED) as info:
    read(tmp_path, write(content, STORAGES))
  assert 'it was not executed' in str(info.value)


@pytest.mark.parametrize('place', range(5))
def test_any_of_the_pickles_of_a_legacy_file(tmp_path, grave, place):
  pickled = sung(tmp_path, Canary, 2)
  whole = writer.legacy(STATE, STORAGES)
  stream = io.BytesIO(whole)
  ends = [0]
  for _ in range(5):
    for _ in pickletools.genops(stream):
      pass
    ends.append(stream.tell())
  content = whole[: ends[place]] + pickled + whole[ends[place + 1] :]
  with pytest.raises(ValueError, match=NAMED):
    read(tmp_path, content)


def test_a_second_pickle_of_an_archive(tmp_path, grave):
  file = io.BytesIO(writer.zipped(STATE, STORAGES))
  with zipfile.ZipFile(file, 'a') as archive:
    archive.writestr('other/data.pkl', sung(tmp_path, Canary, 2))
  with pytest.raises(ValueError, match='holds 2 pickles'):
    read(tmp_path, file.getvalue())


@pytest.mark.parametrize(
  ('instructions', 'message'),
  [
    (b'cbuiltins\neval\n(Vprint(1)\ntR', r'names builtins\.eval,'),
    (b'c__builtin__\nexec\n(Vprint(1)\ntR', r'names __builtin__\.exec,'),
    (b'cos\nsystem\n(Vtrue\ntR', r'names os\.system,'),
    (b'ctorch.hub\nload\n(Vx\ntR', r'names torch\.hub\.load,'),
    # A dotted name leads from something harmless to something that is not.
    (b'ccollections\nOrderedDict.__init__\n', r'names collections\.OrderedD'),
    # Protocol 4 takes the name from the stack, here by way of the memo.
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
    # An attribute, were it set, that calls could be led through.
    (b'ccollections\nOrderedDict\n}Vupdate\nK\x01sb', 'needs a dict, got a F'),
    (b'ctorch\nSize\n(]tRVx\nK\x01s', 'needs a dict|needs a tuple, got a list'),
    # A pickle within a pickle is bytes.
    (
      writer.call(
        writer.name('pickle', 'loads'), writer.value(pickle.dumps(print))
      ),
      r'names pickle\.loads,',
    ),
  ],
)
@pytest.mark.parametrize('write', [writer.zipped, writer.legacy])
def test_every_other_route(tmp_path, write, instructions, message):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, write(instructions, STORAGES))
