"""Unusable checkpoints: one error line from every command, exit status 2."""

import io
import json
import os
import pickle
import re
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy

from experiments import cifar, teachers
from kdjax import models
from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names
from tests.convert import torch_writer as writer

NAME, CLASSES, SHAPE = 'resnet8', 3, (8, 8, 1)


def weights(name: str) -> dict[str, np.ndarray]:
  """Returns the arrays of a network by PyTorch name."""
  network = models.create(name, num_classes=CLASSES)
  variables = network.describe(SHAPE).variables
  ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), variables)
  return torch_layout.to_torch(ones, names.rules_of(name))


ARRAYS = weights(NAME)
FIRST = next(iter(ARRAYS))


def torch_zip(**members: bytes) -> bytes:
  state = writer.state_dict(ARRAYS)
  return writer.zipped(state, writer.numbered(ARRAYS), **members)


class Canary:
  """Creates a folder when it is unpickled."""

  def __reduce__(self):
    return os.mkdir, ('canary',)


def canary(write) -> bytes:
  beside = {'model': writer.state_dict(ARRAYS), 'x': writer.value(Canary())}
  return write(writer.mapping(beside), writer.numbered(ARRAYS))


def without_a_record() -> bytes:
  """Returns an archive without its first storage."""
  file = io.BytesIO()
  with (
    zipfile.ZipFile(io.BytesIO(torch_zip())) as whole,
    zipfile.ZipFile(file, 'w') as part,
  ):
    for info in whole.infolist():
      if info.filename != 'archive/data/0':
        part.writestr(info.filename, whole.read(info))
  return file.getvalue()


def cut_within_a_record() -> bytes:
  """Returns an archive that lacks a hundred bytes in its middle."""
  whole = torch_zip()
  middle = len(whole) // 2
  return whole[:middle] + whole[middle + 100 :]


def short_storage() -> bytes:
  storages = writer.numbered(ARRAYS)
  storages['0'] = storages['0'].ravel()[:-1]
  return writer.zipped(writer.state_dict(ARRAYS), storages)


def npz(arrays) -> bytes:
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


def safetensors_with(change) -> bytes:
  """Returns a file with a changed header entry of its first array."""
  whole = safetensors.numpy.save(ARRAYS)
  length = int.from_bytes(whole[:8], 'little')
  header = json.loads(whole[8 : 8 + length])
  change(header[FIRST])
  text = json.dumps(header).encode()
  return len(text).to_bytes(8, 'little') + text + whole[8 + length :]


def moved(by: int):
  def change(entry):
    entry['data_offsets'] = [place + by for place in entry['data_offsets']]

  return change


BAD = {
  'canary, zip': (lambda: canary(writer.zipped), r'names \w+\.mkdir'),
  'canary, legacy': (lambda: canary(writer.legacy), r'names \w+\.mkdir'),
  'canary, plain': (lambda: pickle.dumps(Canary()), r'names \w+\.mkdir'),
  'truncated zip': (lambda: torch_zip()[:-200], 'truncated or damaged'),
  'cut within a record': (cut_within_a_record, 'damaged'),
  'a record is missing': (without_a_record, 'storage 0 is missing'),
  'short storage': (short_storage, 'storage 0 declares'),
  'another depth': (lambda: npz(weights('resnet14')), 'and 18 more'),
  'half of the weights': (
    lambda: npz(dict(list(ARRAYS.items())[::2])),
    r'missing     bn1\.weight \(16,\)',
  ),
  'NaN': (
    lambda: npz({**ARRAYS, 'fc.bias': np.array([1, np.nan, 1], np.float32)}),
    r'fc\.bias has 1 of 3 values not finite',
  ),
  'header beyond the file': (
    lambda: (10**6).to_bytes(8, 'little') + b'{"a": 1}',
    'header declares 1000000 bytes',
  ),
  'too long': (
    safetensors_with(lambda entry: entry['shape'].append(7)),
    'but its offsets',
  ),
  'overlapping': (safetensors_with(moved(4)), 'begins at byte'),
  'negative': (safetensors_with(moved(-(10**6))), 'invalid size or offset'),
  'another type': (
    safetensors_with(lambda entry: entry.update(dtype='F16')),
    'but its offsets',
  ),
  'objects': (lambda: npz({'x': np.array([{}])}), 'holds Python objects'),
}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'small.npz'
  images, labels = np.zeros((6, *SHAPE), np.uint8), np.arange(6) % CLASSES
  arrays = {
    f'{kind}_{split}': array
    for split in ('train', 'test')
    for kind, array in (('x', images), ('y', labels))
  }
  np.savez(path, **arrays)
  return path


@pytest.fixture(params=BAD)
def bad(request, tmp_path, monkeypatch):
  """A bad checkpoint file and the expected message."""
  monkeypatch.chdir(tmp_path)
  made, message = BAD[request.param]
  path = tmp_path / 'teacher.pth'
  path.write_bytes(made() if callable(made) else made)
  yield path, message
  assert not (tmp_path / 'canary').exists()


def check(capsys, path, message):
  said = capsys.readouterr().err
  assert f'error: {path} ' in said
  assert 'Traceback' not in said
  assert re.search(message, said)


def test_evaluation_reports_a_bad_checkpoint(bad, capsys, dataset):
  path, message = bad
  flags = [f'--checkpoint={path}', f'--network={NAME}']
  assert teachers.main(['evaluate', *flags, f'--dataset=npz:{dataset}']) == 2
  check(capsys, path, message)


def test_training_reports_a_bad_checkpoint(bad, capsys, dataset, tmp_path):
  path, message = bad
  flags = [
    *('--method=kd', f'--dataset=npz:{dataset}'),
    *(f'--teacher={NAME}', '--student=convnet_4_8'),
    *(f'--teacher_checkpoint={path}', f'--workdir={tmp_path / "work"}'),
    *('--epochs=1', '--batch_size=6'),
  ]
  status = cifar.COMMAND.main(flags)
  assert status == 2
  check(capsys, path, message)
