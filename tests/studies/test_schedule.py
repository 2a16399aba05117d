"""Concurrent runs, one thread per device, match sequential runs."""

import dataclasses

import jax
import numpy as np
import pytest

from kdjax.runtime.mesh import each_device, first_devices
from kdjax.runtime.run_folder import steps_done
from kdjax.runtime.signals import Interrupted, StopRequest
from kdjax.studies import schedule
from kdjax.studies.schedule import runs_at_once, train_all
from kdjax.train import Recipe
from kdjax.train.teacher_table import TeacherTable
from tests.train import support

SEEDS = range(3)
RECIPE = Recipe(epochs=3, batch_size=support.BATCH, ema_decay=0.9)


def _runs(folder, epochs, **settings):
  return [
    support.run(
      folder / f'{seed}', epochs, key=jax.random.key(seed), **settings
    )
    for seed in SEEDS
  ]


def _train(runs, together, request=None):
  progress = support.Listener()
  return train_all(runs, request or StopRequest(), progress, together)


@pytest.fixture(scope='module')
def epochs():
  return support.epochs(support.parts('kd', RECIPE), recipe=RECIPE)


@pytest.fixture(scope='module')
def sequential_folder(epochs, tmp_path_factory):
  """Folder of runs that were trained sequentially."""
  folder = tmp_path_factory.mktemp('sequential_folder')
  _train(_runs(folder, epochs), 'never')
  return folder


def _use_devices(monkeypatch, count):
  monkeypatch.setattr(jax, 'local_device_count', lambda: count)
  monkeypatch.setattr(schedule, 'each_device', lambda: each_device()[:count])


def _assert_same_ends(epochs, folder, other):
  for seed in map(str, SEEDS):
    support.same_end(epochs, folder / seed, other / seed)


# With two devices the third run starts when another one ends.
@pytest.mark.slow
@pytest.mark.parametrize('devices', [3, 2])
def test_runs_on_separate_devices_are_bit_identical(
  tmp_path, epochs, sequential_folder, monkeypatch, devices
):
  _use_devices(monkeypatch, devices)
  _train(_runs(tmp_path, epochs), 'auto')
  _assert_same_ends(epochs, tmp_path, sequential_folder)


@pytest.mark.slow
def test_stop_saves_all_runs_and_they_resume_bit_identically(
  tmp_path, epochs, sequential_folder, monkeypatch
):
  _use_devices(monkeypatch, 3)
  runs = _runs(tmp_path, epochs)
  request = support.StopWhen(
    lambda: (
      (runs[1].folder / 'metrics.jsonl').exists()
      and support.lines(runs[1].folder, 'train')
    )
  )
  with pytest.raises(Interrupted):
    _train(runs, 'auto', request)
  assert all(steps_done(run.folder) > 0 for run in runs)
  assert not runs[1].finished()
  _train(runs, 'auto')
  _assert_same_ends(epochs, tmp_path, sequential_folder)


@pytest.mark.slow
@pytest.mark.parametrize('together', ['auto', 'never'])
def test_diverged_run_does_not_stop_the_other_runs(
  tmp_path, epochs, sequential_folder, monkeypatch, together
):
  _use_devices(monkeypatch, 3)
  runs = _runs(tmp_path, epochs)

  def broken(fresh):
    return jax.tree.map(lambda a: a * np.nan, fresh)

  runs[1] = dataclasses.replace(runs[1], pretrained=broken)
  (message,) = _train(runs, together)
  assert 'not finite at step 0' in message
  kinds = [support.lines(run.folder)[-1]['kind'] for run in runs]
  assert kinds == ['end', 'diverged', 'end']
  for seed in ('0', '2'):
    support.same_end(epochs, tmp_path / seed, sequential_folder / seed)
  # A repeated command does not train it again.
  (message,) = _train(runs, together)
  assert 'diverged at step 0 before' in message


@pytest.mark.slow
def test_concurrent_runs_with_a_teacher_table_are_bit_identical(
  tmp_path, epochs, monkeypatch
):
  _use_devices(monkeypatch, 3)
  ends = {}
  for together, tables in (('never', 1), ('auto', 3)):
    ends[together], said = tmp_path / together, []
    table = TeacherTable('device', lambda: 1, said.append)
    _train(_runs(ends[together], epochs, table=table), together)
    assert len(said) == tables  # one on each device
  _assert_same_ends(epochs, *ends.values())


def test_finished_runs_are_not_trained_again(epochs, sequential_folder):
  before = (sequential_folder / '0' / 'metrics.jsonl').stat().st_mtime_ns
  _train(_runs(sequential_folder, epochs), 'never')
  assert (
    sequential_folder / '0' / 'metrics.jsonl'
  ).stat().st_mtime_ns == before


@pytest.mark.parametrize(
  ('left', 'devices', 'count'),
  [(6, 1, 1), (6, 2, 2), (1, 2, 1), (3, 4, 3), (2, 4, 1), (6, 4, 4)],
)
def test_number_of_concurrent_runs(
  left, devices, count, epochs, tmp_path, monkeypatch
):
  monkeypatch.setattr(jax, 'local_device_count', lambda: devices)
  run = support.run(tmp_path, epochs)
  assert runs_at_once(run, left, 'auto') == count
  assert runs_at_once(run, left, 'never') == 1


def _run_on(tmp_path, devices):
  return support.run(tmp_path, support.epochs(support.parts('kd'), devices))


def test_runs_are_sequential_if_cores_share_a_batch(tmp_path, monkeypatch):
  run = _run_on(tmp_path, first_devices(2))
  monkeypatch.setattr(jax, 'local_device_count', lambda: 2)
  assert runs_at_once(run, 2, 'auto') == 1
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert runs_at_once(run, 2, 'auto') == 2


def test_runs_are_sequential_with_a_sharded_teacher(tmp_path, monkeypatch):
  run = _run_on(tmp_path, first_devices(4, fsdp=2))
  monkeypatch.setattr(jax, 'local_device_count', lambda: 4)
  assert runs_at_once(run, 4, 'auto') == 1
