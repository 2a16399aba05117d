"""Teachers from checkpoints, from training and from the cache."""

import shutil

import jax
import pytest
from etils import epath

from kdjax import convert, methods
from kdjax.runtime.mesh import first_devices
from kdjax.runtime.signals import StopRequest
from kdjax.studies import teacher as teacher_lib
from kdjax.studies.config import StudyConfig
from kdjax.studies.session import Session
from kdjax.studies.setup import Setup
from kdjax.train import Recipe
from tests.train import support


def _obtain(workdir, **settings):
  """Returns a teacher and the messages, except that of loading the dataset."""
  progress = support.Listener()
  session = Session(
    workdir=epath.Path(workdir),
    devices=first_devices(1),
    request=StopRequest(),
    progress=progress,
  )
  config = StudyConfig(
    dataset='digits',
    limit=7,
    teacher='convnet_4_8',
    student='convnet_4_8',
    method=methods.create('kd'),
    recipe=Recipe(epochs=1, batch_size=16),
    **settings,
  )
  teacher = teacher_lib.obtain(Setup(config, session))
  return teacher, progress.said[1:]


def _kinds(workdir):
  folder = workdir / 'runs' / 'teacher' / 'seed0'
  return [line['kind'] for line in support.lines(folder)]


@pytest.fixture
def checkpoint(tmp_path):
  """A weight file and its weights."""
  config = StudyConfig(
    dataset='digits',
    limit=7,
    teacher='convnet_4_8',
    student='convnet_4_8',
    method=methods.create('kd'),
    recipe=Recipe(batch_size=16),
  )
  session = Session(
    workdir=epath.Path(tmp_path),
    devices=first_devices(1),
    request=StopRequest(),
    progress=support.Listener(),
  )
  setup = Setup(config, session)
  variables = setup.teacher.initialize(
    jax.random.key(3), setup.dataset.image_shape
  )
  path = tmp_path / 'teacher.safetensors'
  convert.save_safetensors(path, variables)
  return path, variables


def test_teacher_checkpoint_is_evaluated_once_and_not_trained(
  tmp_path, checkpoint
):
  path, variables = checkpoint
  for workdir, message in (
    ('one', None),
    ('one', None),  # from the work folder
    ('two', 'scores are taken from'),  # from the cache
  ):
    teacher, said = _obtain(tmp_path / workdir, teacher_checkpoint=path)
    support.identical(teacher.variables, variables)
    assert _kinds(tmp_path / workdir) == ['eval', 'end']
    assert said == [] if message is None else message in said[0]


@pytest.mark.slow
def test_teacher_is_trained_once_and_cached(tmp_path):
  first, said = _obtain(tmp_path / 'one')
  assert said == []
  again, said = _obtain(tmp_path / 'two')
  assert 'The teacher is taken from' in said[0]
  assert first.hash == again.hash
  support.identical(first.variables, again.variables)
  assert _kinds(tmp_path / 'one') == _kinds(tmp_path / 'two')
  # Another recipe gives another teacher.
  other, said = _obtain(tmp_path / 'three', teacher_learning_rate=0.01)
  assert said == []
  assert other.hash != first.hash


@pytest.mark.slow
@pytest.mark.parametrize(
  ('damaged', 'reason'),
  [
    ('student', 'its weights are missing'),
    ('metrics.jsonl', 'its logs are damaged'),
    ('features.npz', 'some of its files are missing'),
    ('hashes.json', 'some of its files are missing'),
    ('student/_CHECKPOINT_METADATA', 'is damaged'),
  ],
)
def test_damaged_cached_teacher_is_replaced(tmp_path, damaged, reason):
  first, _ = _obtain(tmp_path / 'one')
  (folder,) = (tmp_path / 'cache' / 'teachers').iterdir()
  path = folder / damaged
  if path.is_dir():
    shutil.rmtree(path)
  elif damaged in ('features.npz', 'hashes.json'):
    path.unlink()
  else:
    path.write_bytes(path.read_bytes()[:-20])
  again, said = _obtain(tmp_path / 'two')
  assert 'The teacher is trained again' in said[0]
  assert str(folder) in said[0]
  assert reason in said[0]
  support.identical(first.variables, again.variables)  # trained again
  _, said = _obtain(tmp_path / 'three')
  assert said == [f'The teacher is taken from {folder}']


def test_damaged_cached_scores_of_a_teacher_are_replaced(tmp_path, checkpoint):
  path, _ = checkpoint
  _obtain(tmp_path / 'one', teacher_checkpoint=path)
  (folder,) = (tmp_path / 'cache' / 'scores').iterdir()
  log = folder / 'metrics.jsonl'
  log.write_bytes(log.read_bytes().replace(b'"epoch"', b'"epoxh"'))
  _, said = _obtain(tmp_path / 'two', teacher_checkpoint=path)
  assert 'The teacher is evaluated again' in said[0]
  assert 'its logs are damaged' in said[0]
  assert _kinds(tmp_path / 'two') == ['eval', 'end']
  _, said = _obtain(tmp_path / 'three', teacher_checkpoint=path)
  assert said == [f"The teacher's scores are taken from {folder}"]
