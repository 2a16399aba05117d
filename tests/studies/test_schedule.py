"""Runs that train at once, a thread per device, end as they end alone."""

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
def alone(epochs, tmp_path_factory):
  """The folder of runs that were trained one after the other."""
  folder = tmp_path_factory.mktemp('alone')
  _train(_runs(folder, epochs), 'never')
  return folder


def _use_devices(monkeypatch, count):
  monkeypatch.setattr(jax, 'local_device_count', lambda: count)
  monkeypatch.setattr(schedule, 'each_device', lambda: each_device()[:count])


def _assert_same_ends(epochs, folder, other):
  for seed in map(str, SEEDS):
    support.same_end(epochs, folder / seed, other / seed)


# With two devices the third run waits for one of the others to end.
@pytest.mark.parametrize(
  'devices', [3, pytest.param(2, marks=pytest.mark.slow)]
)
def test_runs_on_devices_of_their_own_end_with_the_same_bits(
  tmp_path, epochs, alone, monkeypatch, devices
):
  _use_devices(monkeypatch, devices)
  _train(_runs(tmp_path, epochs), 'auto')
  _assert_same_ends(epochs, tmp_path, alone)


@pytest.mark.slow
def test_all_are_saved_when_asked_to_stop_and_go_on_with_the_same_bits(
  tmp_path, epochs, alone, monkeypatch
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
  _assert_same_ends(epochs, tmp_path, alone)


@pytest.mark.parametrize('together', ['auto', 'never'])
def test_one_that_diverges_does_not_stop_the_others(
  tmp_path, epochs, alone, monkeypatch, together
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
    support.same_end(epochs, tmp_path / seed, alone / seed)
  # A command that is given again leaves it as it is.
  (message,) = _train(runs, together)
  assert 'diverged at step 0 before' in message


@pytest.mark.slow
def test_runs_with_a_table_end_with_the_same_bits_as_alone(
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


def test_runs_that_have_ended_are_not_trained_again(epochs, alone):
  before = (alone / '0' / 'metrics.jsonl').stat().st_mtime_ns
  _train(_runs(alone, epochs), 'never')
  assert (alone / '0' / 'metrics.jsonl').stat().st_mtime_ns == before


@pytest.mark.parametrize(
  ('left', 'devices', 'count'),
  [(6, 1, 1), (6, 2, 2), (1, 2, 1), (3, 4, 3), (2, 4, 1), (6, 4, 4)],
)
def test_how_many_runs_train_at_once(
  left, devices, count, epochs, tmp_path, monkeypatch
):
  monkeypatch.setattr(jax, 'local_device_count', lambda: devices)
  run = support.run(tmp_path, epochs)
  assert runs_at_once(run, left, 'auto') == count
  assert runs_at_once(run, left, 'never') == 1


def _on(tmp_path, devices):
  return support.run(tmp_path, support.epochs(support.parts('kd'), devices))


def test_cores_that_share_a_batch_train_one_run_after_the_other(
  tmp_path, monkeypatch
):
  run = _on(tmp_path, first_devices(2))
  monkeypatch.setattr(jax, 'local_device_count', lambda: 2)
  assert runs_at_once(run, 2, 'auto') == 1
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert runs_at_once(run, 2, 'auto') == 2


def test_a_sharded_teacher_keeps_runs_one_after_the_other(
  tmp_path, monkeypatch
):
  run = _on(tmp_path, first_devices(4, fsdp=2))
  monkeypatch.setattr(jax, 'local_device_count', lambda: 4)
  assert runs_at_once(run, 4, 'auto') == 1
