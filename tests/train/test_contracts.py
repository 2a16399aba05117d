"""User-defined methods and a user-defined task train in whole runs.

Each example has at most 40 lines and changes no file of the library.
"""

import dataclasses
import inspect
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from kdjax import data, layers, losses
from kdjax.methods import Method, Supervised, Updates
from kdjax.models import linen_network
from kdjax.runtime import files
from kdjax.runtime.checkpoints import load_variables
from kdjax.runtime.mesh import first_devices
from kdjax.runtime.run_folder import RunFolder
from kdjax.train import (
  Parts,
  Program,
  Recipe,
  ResidentEpochs,
  TrainState,
)
from kdjax.typing import PyTree
from tests.train import support


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryBank(Method):
  """Distance of embeddings to running means of the teacher's per image."""

  weight: float = 0.1
  momentum: float = 0.5

  def init(self, key, student, teacher, data):
    width = teacher.features.embedding.shape[-1]
    bank = jnp.zeros((data.num_images, width))
    per_class = jnp.bincount(data.labels, length=data.num_classes)
    return {'params': {}, 'state': {'bank': bank, 'per_class': per_class}}

  def terms(self, variables, student, teacher, batch, context):
    state, rows = variables['state'], batch['index']
    new = self.momentum * state['bank'][rows]
    new += (1 - self.momentum) * teacher.features.embedding
    error = losses.mean_squared_error(student.features.embedding, new).mean()
    state = {**state, 'bank': state['bank'].at[rows].set(new)}
    return {'memory': self.weight * error}, Updates(state=state)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoStages(Method):
  """Trains a projection for one epoch, then the student as well."""

  task_weight: float | tuple[tuple[int, float], ...] = ((0, 0.0), (1, 1.0))

  stage_starts: ClassVar = (1,)

  def init(self, key, student, teacher, data):
    shape = [n.features.embedding.shape[-1] for n in (student, teacher)]
    kernel = 0.1 * jax.random.normal(key, shape)
    return {'params': {'kernel': kernel}, 'state': {}}

  def terms(self, variables, student, teacher, batch, context):
    hint = student.features.embedding @ variables['params']['kernel']
    error = losses.mean_squared_error(hint, teacher.features.embedding).mean()
    return {'hint': error}, Updates(student_active=context.epoch >= 1)


class Predictor(Method):
  """Predicts from a normalized feature map with the teacher's classifier."""

  def init(self, key, student, teacher, data):
    maps = jnp.zeros(student.features.stages[-1].shape)
    made = layers.BatchNorm().init(key, maps, train=False)
    return {'params': made['params'], 'state': made['batch_stats']}

  def terms(self, variables, student, teacher, batch, context):
    return {}, Updates()

  def predicting(self, variables, student, teacher):
    _, state = _normalize(variables, student.features, student.train)

    def predict(features):
      maps, _ = _normalize(variables, features, student.train)
      return teacher.head(maps)

    return student.with_predictor(predict), state

  def export(self, variables, student, teacher):
    network, own = student
    head, kept = teacher
    parts = {'student': own, 'norm': variables, 'head': kept}

    def forward(parts, images, train):
      features, _ = network.forward(parts['student'], images, train)
      maps, _ = _normalize(parts['norm'], features, train)
      return features.with_outputs(head.head(parts['head'], maps)), {}

    return dataclasses.replace(network, name='both', forward=forward), parts


def _normalize(variables, features, train) -> Any:
  given = {'params': variables['params'], 'batch_stats': variables['state']}
  maps, updated = layers.BatchNorm().apply(
    given, features.stages[-1], train=train, mutable=['batch_stats']
  )
  return maps, updated.get('batch_stats', variables['state'])


@struct.dataclass
class Points:
  """Features of a network that predicts points and has no logits."""

  points: jax.Array

  @property
  def outputs(self) -> jax.Array:
    return self.points

  def with_outputs(self, outputs) -> 'Points':
    return Points(outputs)


class Pointer(nn.Module):
  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> Points:
    return Points(nn.Dense(2)(images.reshape(len(images), -1)))


class Pointing:
  """A task of two coordinates; labels are a tree."""

  score: ClassVar = 'nearness'

  def loss(self, features, batch):
    return jnp.sum((features.points - batch['label']['point']) ** 2, axis=-1)

  def outputs(self, features, batch):
    return {'distance': jnp.sqrt(self.loss(features, batch))}

  def samples(self, features, batch):
    return {}

  def summarize(self, outputs):
    return {'nearness': float(-outputs['distance'].mean())}


TOYS = (MemoryBank, TwoStages, Predictor, Pointing)


@pytest.mark.parametrize('toy', TOYS)
def test_example_has_at_most_40_lines(toy):
  assert len(inspect.getsourcelines(toy)[0]) <= 40


def _lines(folder) -> list[dict[str, Any]]:
  return files.read_lines(folder / 'metrics.jsonl')


def _train_run(tmp_path, method: Method) -> tuple[support.Run, TrainState]:
  """Trains a run; returns it and the state of its last checkpoint."""
  epochs = support.epochs(support.parts(method))
  run = support.run(tmp_path, epochs)
  support.train(run)
  carry, _, _ = support.start(epochs)
  return run, _last_checkpoint(run, carry)


def _last_checkpoint(run, carry) -> TrainState:
  with RunFolder(run.folder, run.about, run.epochs.program.devices) as folder:
    return folder.restore(carry, 1, print).state


@pytest.mark.parametrize('method', [MemoryBank(), TwoStages(), Predictor()])
def test_run_finishes_and_its_terms_sum_to_the_loss(tmp_path, method):
  run, state = _train_run(tmp_path, method)
  assert int(state.step) == run.total_steps
  for line in _lines(run.folder):
    if line['kind'] == 'train':
      assert sum(line['terms'].values()) == pytest.approx(
        line['loss'], rel=1e-5
      )


def test_memory_bank_is_updated_and_saved(tmp_path):
  _, state = _train_run(tmp_path, MemoryBank())
  bank = np.asarray(state.method_state['bank'])
  assert bank.shape == (support.TRAIN, 6)
  assert (np.abs(bank).sum(1) > 0).all()
  per_class = np.asarray(state.method_state['per_class'])
  assert per_class.tolist() == [support.TRAIN // support.CLASSES] * 3


class OneOptimizer(TwoStages):
  """The same method without an optimizer reset between the stages."""

  stage_starts: ClassVar = ()


def test_student_is_frozen_in_the_first_stage_and_momentum_reset():
  after = {}
  for method in (TwoStages(), OneOptimizer()):
    epochs = support.epochs(support.parts(method))
    carry, frozen, key = support.start(epochs)
    start = support.numbers(carry.state.params)
    carry = support.advance(epochs, carry, frozen, key, 3)
    first = support.numbers(carry.state.params)
    support.identical(first['student'], start['student'])
    assert np.any(first['method']['kernel'] != start['method']['kernel'])
    trace = np.asarray(
      optax.tree.get(carry.state.opt_state, 'trace')['method']['kernel']
    )
    carry = support.advance(epochs, carry, frozen, key, 4)
    after[type(method)] = support.numbers(carry.state.params)
    moved = jax.tree.map(np.array_equal, after[type(method)], first)
    assert not any(jax.tree.leaves(moved['student']['hidden']))
  # Without the reset, 0.9 of the old momentum changes the kernel as well.
  kernels = [params['method']['kernel'] for params in after.values()]
  np.testing.assert_allclose(
    kernels[0] - kernels[1], 0.05 * 0.9 * trace, atol=1e-6
  )


def test_predictor_is_exported_with_its_student(tmp_path):
  run, state = _train_run(tmp_path, Predictor())
  parts = run.epochs.program.parts
  network, template = parts.method.export(
    state.method_variables,
    (parts.student, state.student_variables),
    (parts.teacher, run.teacher_variables),
  )
  stored = load_variables(run.folder / 'student', template)
  test = support.dataset().test
  features, _ = network.apply(
    stored, jnp.float32(test.images) / 255, train=False
  )
  right = int((jnp.argmax(features.logits, -1) == test.labels).sum())
  assert right == _lines(run.folder)[-1]['correct']
  # The running mean of its norm has changed.
  assert np.any(np.asarray(state.method_state['mean']) != 0)


def _points(count: int, seed: int) -> data.Split:
  images, _ = support.arrays(count, seed)
  sums = images.reshape(count, -1).astype(np.float32).mean(1) / 255
  point = np.stack([sums, -sums], axis=1)
  return data.Split(images, {'point': point})


def test_task_without_logits_trains_and_evaluates(tmp_path):
  train, test = _points(support.TRAIN, 1), _points(support.TEST, 2)
  recipe = Recipe(epochs=3, batch_size=support.BATCH)
  student = linen_network(Pointer(), name='pointer')
  parts = Parts(
    student=student,
    teacher=None,
    method=Supervised(),
    task=Pointing(),
    augment=data.Augmentation(),
    optimizer=recipe.optimizer(3, student, Supervised()),
    steps_per_epoch=3,
  )
  program = Program(
    parts=parts,
    devices=first_devices(2),
    train=train,
    batch_size=support.BATCH,
    num_classes=0,
  )
  run = support.run(tmp_path, ResidentEpochs(program), test=test)
  support.train(run)
  scores = [
    line['nearness'] for line in _lines(tmp_path) if line['kind'] == 'eval'
  ]
  assert len(scores) == 3
  assert scores[-1] > scores[0]
  assert _lines(tmp_path)[-1]['best_nearness'] == max(scores)
  assert _no_samples(tmp_path)


def _no_samples(folder) -> bool:
  with np.load(folder / 'features.npz') as arrays:
    return not arrays.files


@pytest.mark.slow
def test_predictor_state_is_the_same_on_two_devices(tmp_path):
  ends: list[PyTree] = []
  for devices in (1, 2):
    epochs = support.epochs(support.parts(Predictor()), first_devices(devices))
    carry, frozen, key = support.start(epochs)
    for stop in (3, 6):
      carry = support.advance(epochs, carry, frozen, key, stop)
    ends.append(carry.state.method_state)
  support.close(*ends, 1e-5)
