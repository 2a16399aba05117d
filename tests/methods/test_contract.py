"""Small complete methods that use the `Method` interface beyond loss terms."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.features import Features
from kdjax.methods import Kd, Method, Pass, Updates, combine
from kdjax.methods.linear import apply_linear, init_linear
from kdjax.methods.schedules import value_at
from kdjax.methods.settings import with_settings
from kdjax.network import Network
from tests.methods import support


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryBank(Method):
  """Distance from the running mean of the teacher's embeddings of an image.

  Attributes:
    momentum: Weight of the old mean.
  """

  momentum: float = 0.5

  teacher_reads = 'outputs'

  def init(self, key, student, teacher, data):
    width = teacher.features.embedding.shape[-1]
    bank = jnp.zeros((data.num_images, width))
    return {'params': {}, 'state': {'bank': bank}}

  def terms(self, variables, student, teacher, batch, context):
    bank, index = variables['state']['bank'], batch['index']
    embedding = jax.lax.stop_gradient(teacher.features.embedding)
    rows = self.momentum * bank[index] + (1 - self.momentum) * embedding
    distance = losses.mean_squared_error(student.features.embedding, rows)
    state = {'bank': bank.at[index].set(rows)}
    return {'bank': distance.mean()}, Updates(state=state)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoStages(Method):
  """A projection is trained alone first, then the student.

  Attributes:
    epochs: Number of epochs of the first stage.
  """

  epochs: int = 2

  teacher_reads = 'outputs'

  @property
  def stage_starts(self):
    return (self.epochs,)

  def init(self, key, student, teacher, data):
    widths = [n.features.embedding.shape[-1] for n in (student, teacher)]
    return {'params': init_linear(key, *widths), 'state': {}}

  def terms(self, variables, student, teacher, batch, context):
    rows = apply_linear(variables['params'], student.features.embedding)
    target = jax.lax.stop_gradient(teacher.features.embedding)
    term = losses.mean_squared_error(rows, target).mean()
    first = context.epoch < self.epochs
    return {'two_stages': term}, Updates(active=first, student_active=~first)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapPredictor(Method):
  """Classifies normalized means of the last feature map."""

  needs_teacher = False

  def init(self, key, student, teacher, data):
    width = student.features.stages[-1].shape[-1]
    stats = {'mean': jnp.zeros(width), 'var': jnp.ones(width)}
    return {'params': init_linear(key, width, data.num_classes), 'state': stats}

  def predict(self, variables, features, train):
    rows, stats = features.stages[-1].mean((1, 2)), variables['state']
    used = {'mean': rows.mean(0), 'var': rows.var(0)} if train else stats
    rows = (rows - used['mean']) / jnp.sqrt(used['var'] + 1e-5)
    stats = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, stats, used)
    return apply_linear(variables['params'], rows), stats

  def predicting(self, variables, student, teacher):
    predict = functools.partial(self.predict, variables, train=student.train)
    _, stats = predict(student.features)
    predicted = student.with_predictor(lambda features: predict(features)[0])
    return predicted, stats if student.train else None

  def terms(self, variables, student, teacher, batch, context):
    return {}, Updates()

  def export(self, variables, student, teacher):
    network, own = student
    kinds = (('params', 'params'), ('batch_stats', 'state'))
    merged = {k: {'net': own[k], 'part': variables[v]} for k, v in kinds}

    def forward(given, images, train):
      net = {k: given[k]['net'] for k, _ in kinds}
      features, stats = network.forward(net, images, train)
      part = {v: given[k]['part'] for k, v in kinds}
      logits, part_stats = self.predict(part, features, train)
      return features.with_outputs(logits), {'net': stats, 'part': part_stats}

    facts = {'name': network.name, 'mean': network.mean, 'std': network.std}
    return Network(init=lambda *_: merged, forward=forward, **facts), merged


def _variables(method, student=5, teacher=5):
  specs = support.spec(student), support.spec(teacher)
  return method.init(jax.random.key(4), *specs, support.DATA)


def _terms(method, variables, epoch=0.0, index=tuple(range(support.BATCH))):
  passes = support.make_pass(5, 1), support.make_pass(5, 2)
  batch = {'index': jnp.asarray(index)}
  compute = jax.jit(
    lambda method, variables, epoch: method.terms(
      variables, *passes, batch, support.context(epoch)
    )
  )
  return compute(method, variables, epoch)


def test_memory_bank_updates_the_rows_of_the_batch():
  method = MemoryBank()
  variables = _variables(method)
  assert variables['state']['bank'].shape == (support.DATA.num_images, 5)
  index = np.array([3, 0, 11, 7, 8, 2])
  target = support.features(5, 2).embedding
  for share in (0.5, 0.75):
    terms, updates = _terms(method, variables, index=index)
    bank = updates.state['bank']
    np.testing.assert_allclose(bank[index], share * target, rtol=1e-6)
    others = np.setdiff1d(np.arange(support.DATA.num_images), index)
    np.testing.assert_array_equal(bank[others], 0)
    want = np.mean((support.features(5, 1).embedding - share * target) ** 2)
    np.testing.assert_allclose(terms['bank'], want, rtol=1e-5)
    variables = {**variables, 'state': updates.state}


def test_memory_bank_can_be_combined():
  method = combine({'kd': Kd(), 'bank': MemoryBank()})
  terms, updates = _terms(method, _variables(method))
  alone, own = _terms(MemoryBank(), _variables(MemoryBank()))
  np.testing.assert_array_equal(terms['bank'], alone['bank'])
  np.testing.assert_array_equal(
    updates.state['bank']['bank'], own.state['bank']
  )
  assert updates.state['kd'] == {}


def test_float_setting_is_an_argument_of_compiled_terms():
  method = with_settings(MemoryBank(), {'momentum': 0.0})
  _, updates = _terms(method, _variables(method))
  target = support.features(5, 2).embedding
  np.testing.assert_array_equal(updates.state['bank'][: len(target)], target)


@pytest.mark.parametrize(
  ('epoch', 'first'), [(0, True), (1, True), (2, False), (9, False)]
)
def test_two_stages_train_projection_then_student(epoch, first):
  method = TwoStages(task_weight=((2, 1.0),))
  assert method.stage_starts == (2,)
  _, updates = _terms(method, _variables(method), epoch)
  assert bool(updates.active) == first
  assert bool(updates.student_active) != first
  assert float(value_at(method.task_weight, epoch)) == (not first)


def test_two_stages_can_be_combined():
  method = combine({'kd': Kd(), 'stages': TwoStages()})
  assert method.stage_starts == (2,)
  _, updates = _terms(method, _variables(method), 1.0)
  assert {k: bool(v) for k, v in updates.active.items()} == {
    'kd': True,
    'stages': True,
  }
  assert not updates.student_active


def network():
  """Returns a network with one feature map and image normalization."""

  def init(key, images):
    keys = jax.random.split(key)
    params = {
      'kernel': jax.random.normal(keys[0], (images.shape[-1], 5)),
      'head': jax.random.normal(keys[1], (5, support.CLASSES)),
    }
    return {'params': params, 'batch_stats': {}}

  def forward(variables, images, train):
    del train
    params = variables['params']
    maps = jax.nn.relu(images @ params['kernel'])
    embedding = maps.mean((1, 2))
    logits = embedding @ params['head']
    return Features((maps,), (maps,), (maps,), embedding, logits), {}

  return Network(name='n', init=init, forward=forward, mean=(0.5,), std=(0.2,))


def _predicted(method, variables, images, train):
  student = network()
  own = student.initialize(jax.random.key(0), images.shape[1:])

  @jax.jit
  def predict(variables, own, images):
    features, _ = student.apply(own, images, train=train)
    made = Pass(features, own, lambda *_: features, lambda *_: None)
    made = dataclasses.replace(made, train=train)
    predicted, state = method.predicting(variables, made, None)
    tail = predicted.tail(features.boundaries[0], 1)
    return (predicted.features.logits, tail.logits), state

  return predict(variables, own, images), (student, own)


def test_student_predicts_from_feature_maps():
  method = MapPredictor()
  images = jax.random.uniform(jax.random.key(1), (6, 4, 4, 3))
  spec = network().describe((4, 4, 3))
  variables = method.init(jax.random.key(2), spec, spec, support.DATA)
  for _ in range(2):
    (logits, tail), stats = _predicted(method, variables, images, True)[0]
    np.testing.assert_array_equal(logits, tail)
    # Normalized with the batch: its mean is the bias of the classifier.
    bias = variables['params']['bias']
    np.testing.assert_allclose(logits.mean(0), bias, atol=1e-5)
    variables = {**variables, 'state': stats}
  assert np.all(variables['state']['mean'] > 0)

  ((logits, _), stats), student = _predicted(method, variables, images, False)
  assert stats is None
  exported, merged = method.export(variables, student, None)
  features, _ = exported.apply(merged, images, train=False)
  np.testing.assert_allclose(features.logits, logits, atol=1e-6)
  own, _ = student[0].apply(student[1], images, train=False)
  assert np.max(np.abs(own.logits - logits)) > 0.1
  np.testing.assert_array_equal(features.embedding, own.embedding)


def test_predictions_from_feature_maps_have_no_head():
  method = MapPredictor()
  spec = network().describe((4, 4, 3))
  variables = method.init(jax.random.key(2), spec, spec, support.DATA)
  student = network()
  own = student.initialize(jax.random.key(0), (4, 4, 3))
  features, _ = student.apply(own, jnp.ones((2, 4, 4, 3)), train=False)
  made = Pass(features, own, lambda *_: features, lambda *_: None)
  predicted, _ = method.predicting(variables, made, None)
  assert not predicted.has_head
  with pytest.raises(ValueError, match='predicts from feature maps'):
    predicted.head(features.embedding)
