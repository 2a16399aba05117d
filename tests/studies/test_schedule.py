"""Runs that share their dispatches end as they end alone."""

import json
import signal

import jax
import numpy as np
import pytest

from kdjax.runtime.checkpoints import load_variables
from kdjax.runtime.mesh import first_devices
from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import Interrupted, StopRequest
from kdjax.studies.schedule import at_once, train
from kdjax.train import DivergedError
from kdjax.train.host_table import HostTable
from tests.train import support

SEEDS = 3


class StopAfter(StopRequest):
  """A request that comes after it has been looked for some times."""

  signal_number = signal.SIGTERM

  def __init__(self, looks: int):
    self.looks = looks

  @property
  def asked(self) -> bool:
    self.looks -= 1
    return self.looks < 0


def _runs(folder, program, **settings):
  return [
    support.run(
      folder / f'{seed}', program, key=jax.random.key(seed), **settings
    )
    for seed in range(SEEDS)
  ]


def _train(folder, program, together, request=None, **settings):
  runs = _runs(folder, program, **settings)
  quiet = Progress(enabled=False)
  train(runs, request or StopRequest(), quiet, together)


def _lines(folder):
  """What a run logged, without what the clock says."""
  text = (folder / 'metrics.jsonl').read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  clock = ('seconds', 'images_per_second', 'compilations', 'time')
  return [{k: v for k, v in one.items() if k not in clock} for one in lines]


def _student(folder, program):
  like = program.exported(support.start(program)[0][0])
  return load_variables(folder / 'student', like)


@pytest.fixture(scope='module')
def program():
  return support.program(support.parts('kd'))


@pytest.fixture(scope='module')
def alone(program, tmp_path_factory):
  folder = tmp_path_factory.mktemp('alone')
  _train(folder, program, 'never')
  return folder


def test_runs_on_devices_of_their_own_end_with_the_same_bits(
  tmp_path, program, alone, monkeypatch
):
  monkeypatch.setattr(jax, 'local_device_count', lambda: 4)
  _train(tmp_path, program, 'auto')
  for seed in map(str, range(SEEDS)):
    assert _lines(tmp_path / seed) == _lines(alone / seed)
    one, other = (_student(at / seed, program) for at in (tmp_path, alone))
    support.identical(one, other)


@pytest.mark.slow
def test_batched_runs_end_alike(tmp_path, program, alone):
  _train(tmp_path, program, 'vmap')
  for seed in map(str, range(SEEDS)):
    one, other = (_student(at / seed, program) for at in (tmp_path, alone))
    support.close(one, other, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('together', ['auto', 'vmap'])
def test_each_takes_its_own_rows_of_a_table_on_the_host(
  tmp_path, program, alone, monkeypatch, together
):
  monkeypatch.setattr(jax, 'local_device_count', lambda: 4)
  table = HostTable(program, support.start(program)[1], lambda: None)
  _train(tmp_path, program, together, teacher_table=lambda _: table)
  for seed in map(str, range(SEEDS)):
    one, other = (_student(at / seed, program) for at in (tmp_path, alone))
    support.close(one, other, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('looks', [pytest.param(0, marks=pytest.mark.slow), 4])
def test_all_are_saved_when_asked_to_stop_and_go_on_with_the_same_bits(
  tmp_path, program, alone, monkeypatch, looks
):
  monkeypatch.setattr(jax, 'local_device_count', lambda: 4)
  with pytest.raises(Interrupted):
    _train(tmp_path, program, 'auto', StopAfter(looks))
  _train(tmp_path, program, 'auto')
  for seed in map(str, range(SEEDS)):
    one, other = (_student(at / seed, program) for at in (tmp_path, alone))
    support.identical(one, other)


def test_one_that_diverges_does_not_stop_the_others(tmp_path, monkeypatch):
  monkeypatch.setattr(jax, 'local_device_count', lambda: 4)
  program = support.program(support.parts('kd'))
  runs = _runs(tmp_path, program)
  runs[1].start = lambda fresh: jax.tree.map(lambda a: a * np.nan, fresh)
  quiet = Progress(enabled=False)
  with pytest.raises(DivergedError, match='step 0'):
    train(runs, StopRequest(), quiet, 'auto')
  assert [_lines(run.folder)[-1]['kind'] for run in runs] == [
    'end',
    'diverged',
    'end',
  ]


@pytest.mark.parametrize(
  ('left', 'devices', 'count'),
  [(6, 1, 1), (6, 2, 2), (1, 2, 1), (3, 4, 3), (2, 4, 1), (6, 4, 4)],
)
def test_how_many_runs_train_at_once(left, devices, count, monkeypatch):
  monkeypatch.setattr(jax, 'local_device_count', lambda: devices)
  program = support.program(support.parts())
  assert at_once(program, left, 'auto') == count
  assert at_once(program, left, 'never') == 1
  assert at_once(program, left, 'vmap') == left


def test_cores_that_share_a_batch_train_one_run_after_the_other(monkeypatch):
  shared = support.program(support.parts('kd'), first_devices(2))
  monkeypatch.setattr(jax, 'local_device_count', lambda: 2)
  assert at_once(shared, 2, 'auto') == 1
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert at_once(shared, 2, 'auto') == 2


def test_a_split_teacher_keeps_runs_one_after_the_other(monkeypatch):
  split = support.program(support.parts('kd'), first_devices(4, fsdp=2))
  monkeypatch.setattr(jax, 'local_device_count', lambda: 4)
  assert at_once(split, 4, 'auto') == 1
