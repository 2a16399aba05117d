"""The table of the teacher's outputs."""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import data, methods
from kdjax.methods import Kd, combine
from kdjax.models import linen_network
from kdjax.models.resnet import ResNet
from kdjax.runtime.mesh import Devices, first_devices
from kdjax.runtime.run_folder import steps_done
from kdjax.runtime.signals import Interrupted
from kdjax.train import Program, Recipe, ResidentEpochs
from kdjax.train.teacher_outputs import compute_table, table_bytes
from kdjax.train.teacher_table import TeacherTable, look_up, with_table
from tests.train import support

pytestmark = pytest.mark.optimized

VIEWS = 9  # 3 by 3 crops
RECIPE = Recipe(epochs=3, batch_size=support.BATCH)


def _check():
  """Never requests a stop."""


class Drifting(Kd):
  teacher_mode: ClassVar = 'train'


@functools.cache
def _epochs(name='kd', devices=1):
  return support.epochs(support.parts(name), first_devices(devices))


@functools.cache
def _table(name='kd', devices=1):
  made = _epochs(name, devices)
  return compute_table(made, support.start(made)[1].teacher, _check)


@pytest.mark.slow
def test_table_has_the_outputs_for_every_view():
  made, table = _epochs(), _table()
  assert table['logits'].shape == (support.TRAIN, VIEWS, support.CLASSES)
  assert table['embedding'].shape == (support.TRAIN, VIEWS, 6)
  assert table_bytes(made) == sum(rows.nbytes for rows in table.values())
  images = jnp.asarray(support.dataset().train.images)
  views = jnp.arange(support.TRAIN) % VIEWS
  parts = made.program.parts
  wanted, _ = parts.teacher.apply(
    support.teacher_variables(parts),
    parts.augment.view(images, views),
    train=False,
  )
  got = look_up(table, jnp.arange(support.TRAIN), views)
  np.testing.assert_allclose(got.logits, wanted.logits, atol=1e-6)
  np.testing.assert_allclose(got.embedding, wanted.embedding, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['kd', 'kd+icd'])
def test_training_with_the_table_matches_the_teacher(name):
  # Two epochs with a smaller last batch: each image has several views.
  live, ends = _epochs(name), []
  for made, table in ((live, {}), (with_table(live), _table(name))):
    carry, frozen, key = support.start(made)
    frozen = dataclasses.replace(frozen, table=table)
    for stop in (3, 6):
      carry = support.advance(made, carry, frozen, key, stop)
    ends.append(support.numbers(carry))
  support.close(*ends, 1e-5)


@pytest.mark.slow
def test_table_of_a_residual_network_is_bit_identical():
  shape = (16, 16, 3)
  networks = {
    name: linen_network(
      ResNet(
        num_classes=support.CLASSES, blocks=(2, 1), widths=(8, 16), stem_width=8
      ),
      name=name,
    )
    for name in ('student', 'teacher')
  }
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (support.TRAIN, *shape), np.uint8)
  labels = np.arange(support.TRAIN) % support.CLASSES
  train = data.from_arrays('toy', images, labels, images, labels).train
  parts = dataclasses.replace(
    support.parts('kd', **networks),
    augment=data.Augmentation(crop_padding=1, flip=True),
  )
  program = Program(
    parts=parts,
    devices=first_devices(1),
    train=train,
    batch_size=support.BATCH,
    num_classes=support.CLASSES,
  )
  made = ResidentEpochs(program)
  teacher = networks['teacher'].initialize(jax.random.key(3), shape)
  teacher['batch_stats'] = jax.tree.map(
    lambda leaf: leaf + jnp.linspace(0.1, 0.6, leaf.size),
    teacher['batch_stats'],
  )
  table = compute_table(made, teacher, _check)

  @jax.jit
  def live(variables, rows, views):
    batch = parts.augment.view(made.train_data['image'][rows], views)
    return networks['teacher'].apply(variables, batch, train=False)[0]

  rows = jax.random.permutation(jax.random.key(4), support.TRAIN)
  views = jax.random.randint(jax.random.key(5), rows.shape, 0, 2 * VIEWS)
  for count in (support.BATCH, 5):
    wanted = live(teacher, rows[:count], views[:count])
    got = look_up(table, rows[:count], views[:count])
    support.identical(
      (got.logits, got.embedding), (wanted.logits, wanted.embedding)
    )


@pytest.mark.slow
def test_table_is_the_same_on_eight_devices():
  one, many = _table(), _table(devices=8)
  support.close(one, many, 1e-6)


@pytest.mark.parametrize(
  ('method', 'reads'),
  [
    ('kd', 'outputs'),
    ('kd+icd', 'outputs'),
    ('kd+kd2m', 'outputs'),
    ('lshfm', 'outputs'),
    ('ssim', 'features'),
    ('fcfd', 'features'),
    ('kd+ssim', 'features'),
  ],
)
def test_teacher_reads_of_methods(method, reads):
  assert methods.create(method).teacher_reads == reads


@pytest.mark.parametrize('use', ['auto', 'device'])
def test_table_is_not_used_for_teachers_that_must_run(use):
  drifts = support.epochs(support.parts(combine({'one': Drifting()})))
  said = []
  table = TeacherTable(use, lambda: 999, said.append)
  assert table.epochs_for(drifts) is drifts
  assert table.table(drifts, {}, _check) == {}
  if use == 'device':  # an explicit request gives a message
    (message,) = said
    assert 'it normalizes with the batch' in message


def _is_used(use, left):
  table = TeacherTable(use, lambda: left, print)
  return table.epochs_for(_epochs()) is not _epochs()


def test_table_is_used_if_it_saves_time_and_fits_memory(monkeypatch):
  needed = table_bytes(_epochs())
  assert _is_used('device', 1)
  assert not _is_used('never', 999)
  assert not _is_used('auto', 999)  # the memory of a CPU is not known
  for memory, left, used in (
    (2 * needed, VIEWS + 1, True),
    (2 * needed, VIEWS, False),
    (2 * needed - 1, VIEWS + 1, False),
  ):
    _set_memory(monkeypatch, memory)
    assert _is_used('auto', left) == used


def _set_memory(monkeypatch, memory=10**9):
  monkeypatch.setattr(Devices, 'memory_bytes', lambda self: memory)


def _runs(folder, use, count=1, recipe=RECIPE):
  """Returns runs that share a table, and the messages about it."""
  said = []
  table = TeacherTable(
    use, lambda: sum(run.epochs_left() for run in runs), said.append
  )
  runs = [
    support.run(
      folder / str(seed),
      _epochs(),
      recipe=recipe,
      key=jax.random.key(seed),
      table=table,
    )
    for seed in range(count)
  ]
  return runs, said


@pytest.mark.slow
def test_runs_share_one_table_and_match_the_teacher(tmp_path):
  losses = []
  for use in ('never', 'device'):
    runs, said = _runs(tmp_path / use, use, count=2)
    for run in runs:
      support.train(run)
    assert len(said) == (use == 'device')
    lines = [
      line
      for run in runs
      for line in support.lines(run.folder)
      if 'loss' in line
    ]
    losses.append([line['loss'] for line in lines])
  assert len(losses[0]) == 2 * (3 + 3 + 1)
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
def test_resumed_run_has_no_table_if_few_epochs_remain(tmp_path, monkeypatch):
  _set_memory(monkeypatch)
  recipe = dataclasses.replace(RECIPE, epochs=VIEWS + 2)
  (run,), said = _runs(tmp_path, 'auto', recipe=recipe)
  support.stop_after_epoch(run, 2)
  assert len(said) == 1
  (run,), said = _runs(tmp_path, 'auto', recipe=recipe)
  assert run.epochs_left() == VIEWS
  support.train(run)
  assert said == []


@pytest.mark.slow
def test_remaining_epochs_are_those_of_all_runs(tmp_path, monkeypatch):
  _set_memory(monkeypatch)
  recipe = dataclasses.replace(RECIPE, epochs=VIEWS - 1)
  for count, used in ((1, False), (2, True)):
    runs, said = _runs(tmp_path / str(count), 'auto', count, recipe)
    support.train(runs[0])
    assert bool(said) == used
  # One of the two is finished: too few epochs remain for a table.
  runs, said = _runs(tmp_path / '2', 'auto', 2, recipe)
  support.train(runs[1])
  assert said == []


def test_stop_request_interrupts_the_table_within_one_dispatch():
  dispatches = []

  class Stop(Exception):
    pass

  def check():
    dispatches.append(1)
    if len(dispatches) == 3:
      raise Stop

  made = _epochs()
  with pytest.raises(Stop):
    compute_table(made, support.start(made)[1].teacher, check)
  # After three of 27 batches.
  assert len(dispatches) == 3


@pytest.mark.slow
def test_run_interrupted_during_its_table_is_resumed(tmp_path):
  (whole,), _ = _runs(tmp_path / 'whole', 'device')
  support.train(whole)
  for done in (0, 1):  # without a checkpoint, and with one
    (run,), said = _runs(tmp_path / 'parts', 'device')
    with pytest.raises(Interrupted):
      support.train(run, support.StopWhen(lambda said=said: bool(said)))
    assert steps_done(run.folder) == 3 * done
    if not done:
      support.stop_after_epoch(run, 1)
  support.train(run)
  support.same_end(_epochs(), run.folder, whole.folder)
