"""The teacher's outputs from a table: the bits are the teacher's."""

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
from kdjax.train import Program, first_devices, writers
from kdjax.train.teacher_table import (
  compute_table,
  look_up,
  reason_against,
  table_bytes,
)
from tests.train import support

VIEWS = 9  # 3 by 3 crops


def _asks_nothing():
  pass


class Drifting(Kd):
  teacher_mode: ClassVar = 'train'


@functools.cache
def _program(name='kd', devices=1):
  return support.program(support.parts(name), first_devices(devices))


@functools.cache
def _table(name='kd', devices=1):
  made = _program(name, devices)
  _, teacher, _ = support.start(made)
  return compute_table(made, teacher, _asks_nothing)


@pytest.mark.slow
def test_every_view_of_every_image_has_its_row():
  made, table = _program(), _table()
  assert table['logits'].shape == (support.TRAIN, VIEWS, support.CLASSES)
  assert table['embedding'].shape == (support.TRAIN, VIEWS, 6)
  assert table_bytes(made) == sum(rows.nbytes for rows in table.values())
  images = jnp.asarray(support.dataset().train.images)
  views = jnp.arange(support.TRAIN) % VIEWS
  _, teacher, _ = support.start(made)
  wanted, _ = made.parts.teacher.apply(
    teacher, made.parts.augment.view(images, views), train=False
  )
  got = look_up(table, jnp.arange(support.TRAIN), views)
  np.testing.assert_allclose(got.logits, wanted.logits, atol=1e-6)
  np.testing.assert_allclose(got.embedding, wanted.embedding, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['kd', 'kd+icd'])
def test_training_with_it_is_training_with_the_teacher(name):
  # Two epochs: their last batch is smaller, and sees the same images anew.
  made, ends = _program(name), []
  for more in ({}, {'table': _table(name)}):
    carry, teacher, key = support.start(made)
    for stop in (3, 6):
      carry = made.advance(
        carry, {**teacher, **more}, made.train_data, key, np.int32(stop)
      )
    ends.append(support.numbers(carry))
  support.close(*ends, 1e-5)


@pytest.mark.slow
def test_a_residual_network_gives_the_same_bits_in_any_batch():
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
  made = Program(parts, first_devices(1), train, support.BATCH)
  teacher = networks['teacher'].initialize(jax.random.key(3), shape)
  teacher['batch_stats'] = jax.tree.map(
    lambda leaf: leaf + jnp.linspace(0.1, 0.6, leaf.size),
    teacher['batch_stats'],
  )
  table = compute_table(made, teacher, _asks_nothing)

  @jax.jit
  def live(variables, rows, views):
    batch = made.parts.augment.view(made.train_data['image'][rows], views)
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
def test_eight_devices_fill_it_together():
  one, many = _table(), _table(devices=8)
  support.close(one, many, 1e-6)


@pytest.mark.slow
def test_a_run_asks_for_it_and_ends_the_same(tmp_path):
  made = _program()
  losses = []
  for name, table in (('live', None), ('table', lambda _: _table())):
    run = support.run(tmp_path / name, made, teacher_table=table)
    support.train(run)
    lines = writers.read_lines(run.folder / 'metrics.jsonl')
    losses.append([x['loss'] for x in lines if x['kind'] in ('train', 'eval')])
  assert len(losses[0]) == 6
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_request_stops_it():
  class Stop(Exception):
    pass

  def ask():
    raise Stop

  made = _program()
  _, teacher, _ = support.start(made)
  with pytest.raises(Stop):
    compute_table(made, teacher, ask)


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
def test_methods_say_whether_they_read_maps(method, reads):
  assert methods.create(method).teacher_reads == reads


@pytest.mark.parametrize('use', ['auto', 'always'])
def test_it_takes_the_place_of_no_teacher_that_must_run(use):
  against = functools.partial(reason_against, use, epochs=999, runs=1)
  drifts = support.program(support.parts(combine({'one': Drifting()})))
  assert 'normalises with the batch' in against(drifts)


def test_it_is_used_when_it_pays_and_fits(monkeypatch):
  made = _program()
  needed = table_bytes(made)
  against = functools.partial(reason_against, program=made, runs=1)
  assert against('always', epochs=1) is None
  assert 'asked for' in against('never', epochs=999)
  assert 'pays beyond 9 epochs' in against('auto', epochs=VIEWS)
  assert 'not known' in against('auto', epochs=VIEWS + 1)  # on a CPU
  for left, reason in ((2 * needed, None), (2 * needed - 1, 'does not fit')):
    monkeypatch.setattr(
      type(made.devices), 'memory_bytes', lambda self, left=left: left
    )
    found = against('auto', epochs=VIEWS + 1)
    assert found is None if reason is None else reason in found
    found = against('auto', epochs=VIEWS // 2 + 1, runs=2)
    assert found is None if reason is None else reason in found
