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
from kdjax.runtime import files
from kdjax.runtime.mesh import first_devices
from kdjax.train import Program, host_table, memory, teacher_table
from kdjax.train.host_table import HostTable
from kdjax.train.step import step_keys
from kdjax.train.teacher_table import (
  compute_table,
  decide,
  look_up,
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
      carry = support.advance(made, carry, {**teacher, **more}, key, stop)
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


@functools.cache
def _host_table():
  made = _program()
  return HostTable(made, support.start(made)[1], _asks_nothing)


def test_on_the_host_it_is_the_same_and_gives_what_steps_see():
  made, table, host = _program(), _table(), _host_table()
  assert table_bytes(made) == sum(x.nbytes for x in host.outputs.values())
  (state, _), _, data_key = support.start(made)
  assert host.longest == made.steps_per_epoch == 3
  for first, stop in ((0, 3), (1, 2), (4, 6)):
    order = made.order(data_key, first // 3)
    found = host.ahead(state.key, order, first, stop)
    for step in range(first, stop):
      rows = order[step % 3 * support.BATCH :][: support.BATCH]
      key, _ = step_keys(state.key, step)
      views = made.parts.augment.draw(key, len(rows))
      wanted = look_up(table, rows, views)
      for name, all_rows in found.items():
        assert all_rows.shape[:2] == (3, support.BATCH)
        support.identical(
          all_rows[step - first, : len(rows)], getattr(wanted, name)
        )


def test_on_the_host_a_dispatch_is_as_long_as_its_rows_fit(monkeypatch):
  made = _program()
  row = 4 * (support.CLASSES + 6)
  monkeypatch.setattr(host_table, '_HANDED_OVER', 2 * row * support.BATCH + row)
  _, teacher, _ = support.start(made)
  assert HostTable(made, teacher, _asks_nothing).longest == 2


@pytest.mark.slow
def test_a_run_asks_for_it_and_ends_the_same(tmp_path):
  made = _program()
  losses = []
  tables = {
    'live': None,
    'table': lambda _: _table(),
    'host': lambda _: _host_table(),
  }
  for name, table in tables.items():
    run = support.run(tmp_path / name, made, teacher_table=table)
    support.train(run)
    lines = files.read_lines(run.folder / 'metrics.jsonl')
    losses.append([x['loss'] for x in lines if x['kind'] in ('train', 'eval')])
  assert len(losses[0]) == 6
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)
  assert losses[0] == pytest.approx(losses[2], rel=1e-5)


@pytest.mark.parametrize('compute', [compute_table, HostTable])
def test_a_request_stops_it(compute):
  class Stop(Exception):
    pass

  def ask():
    raise Stop

  made = _program()
  _, teacher, _ = support.start(made)
  with pytest.raises(Stop):
    compute(made, teacher, ask)


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


@pytest.mark.parametrize('use', ['auto', 'device', 'host'])
def test_it_takes_the_place_of_no_teacher_that_must_run(use):
  drifts = support.program(support.parts(combine({'one': Drifting()})))
  found = decide(use, drifts, epochs=999, runs=1)
  assert found.place is None
  assert 'normalises with the batch' in found.reason


def test_it_is_used_when_it_pays_and_fits(monkeypatch):
  made = _program()
  needed = table_bytes(made)
  ask = functools.partial(decide, program=made, runs=1)
  assert ask('device', epochs=1).place == 'device'
  assert ask('host', epochs=1).place == 'host'
  assert 'asked for' in ask('never', epochs=999).reason
  assert 'pays beyond 9 epochs' in ask('auto', epochs=VIEWS).reason
  assert 'not known' in ask('auto', epochs=VIEWS + 1).reason  # on a CPU
  for device, host, place in (
    (2 * needed, 0, 'device'),
    (2 * needed - 1, 2 * needed, 'host'),
    (2 * needed - 1, 2 * needed - 1, None),
  ):
    monkeypatch.setattr(
      type(made.devices), 'memory_bytes', lambda self, left=device: left
    )
    monkeypatch.setattr(teacher_table, 'host_bytes', lambda left=host: left)
    for epochs, runs in ((VIEWS + 1, 1), (VIEWS // 2 + 1, 2)):
      found = decide('auto', made, epochs=epochs, runs=runs)
      assert found.place == place
      assert ('does not fit' in found.reason) == (place is None)


def test_the_memory_is_the_machine_s_or_what_a_container_may_take(
  monkeypatch, tmp_path
):
  limit = tmp_path / 'memory.max'
  monkeypatch.setattr(memory, '_LIMITS', (limit, tmp_path / 'nowhere'))
  whole = memory.host_bytes()
  assert whole > 2**28
  for text, wanted in (('max', whole), ('4096', 4096), (str(2**62), whole)):
    limit.write_text(f'{text}\n')
    assert memory.host_bytes() == wanted
