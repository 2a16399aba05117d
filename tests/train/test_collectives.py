"""The transport search of a compiled train step does not communicate."""

import jax
import pytest

from benchmarks._hlo import collectives, loop_depth
from kdjax import data, models
from kdjax.methods import Kd2m
from kdjax.runtime.mesh import first_devices
from kdjax.tasks import SingleLabel
from kdjax.train import (
  Frozen,
  Parts,
  Program,
  Recipe,
  ResidentEpochs,
  count_steps,
)


def _compiled(devices: int, metric: str) -> str:
  dataset = data.load('digits', limit=7)
  student, teacher = (
    models.create(name, num_classes=10)
    for name in ('convnet_4_8', 'convnet_8_16')
  )
  method = Kd2m(metric=metric, projection='linear')
  recipe = Recipe(epochs=1, batch_size=16)
  steps = count_steps(dataset.train, 16)
  parts = Parts(
    student=student,
    teacher=teacher,
    method=method,
    task=SingleLabel(),
    augment=dataset.augment,
    optimizer=recipe.optimizer(steps, student, method),
    steps_per_epoch=steps,
  )
  mesh = first_devices(devices)
  program = Program(
    parts=parts,
    devices=mesh,
    train=dataset.train,
    batch_size=16,
    num_classes=10,
  )
  epochs = ResidentEpochs(program)
  variables = teacher.initialize(jax.random.key(1), dataset.image_shape)
  frozen = Frozen(teacher=mesh.shard(variables))
  state = program.init_state(jax.random.key(0), variables)
  carry = epochs.first_carry(mesh.replicate(state), frozen)
  order = epochs.begin_epoch(mesh.replicate(jax.random.key(2)), 0)
  return epochs.lower(carry, frozen, order).compile().as_text()


@pytest.mark.parametrize(
  'devices', [2, pytest.param(8, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
  'metric',
  [
    'w2',
    *(
      pytest.param(name, marks=pytest.mark.slow)
      for name in ('cw2', 'jw2', 'sinkhorn', 'w2_gauss_full')
    ),
  ],
)
def test_transport_search_does_not_communicate(devices, metric, hasty_compiler):
  text = _compiled(devices, metric)
  assert loop_depth(text) > 1  # the search inside the loop over steps
  sent = collectives(text, outer_loops=1)
  assert sent
  assert [one for one in sent if one.in_loop] == []
