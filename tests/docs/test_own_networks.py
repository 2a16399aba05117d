"""The networks of docs/own-networks.md, as printed there."""

import importlib.util
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import convert, methods, models
from kdjax.methods.base import TrainSpec
from kdjax.runtime.checkpoints import save_variables
from kdjax.tasks import SingleLabel
from kdjax.train import Parts, Recipe, init_state, train_step

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'own-networks.md'
SHAPE, CLASSES, BATCH = (8, 8, 3), 3, 4
NAMES = ('two_stages', 'small_nnx', 'small_equinox')
HAS_STATISTICS = {'two_stages': True, 'small_nnx': True, 'small_equinox': False}


def block_with(name: str) -> str:
  """Returns the page's code that registers the network `name`."""
  blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
  (found,) = [block for block in blocks if f"NETWORKS['{name}']" in block]
  return found


@pytest.fixture(params=NAMES)
def network(request, monkeypatch):
  if request.param == 'small_equinox' and not importlib.util.find_spec(
    'equinox'
  ):
    pytest.skip('Equinox is not installed')
  # The page replaces the entry, and pytest removes it afterwards.
  monkeypatch.setitem(models.NETWORKS, request.param, None)
  code = block_with(request.param)
  exec(compile(code, str(PAGE), 'exec'), {'__name__': 'page'})
  return models.create(
    request.param, num_classes=CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3
  )


@pytest.fixture
def variables(network):
  return network.initialize(jax.random.key(0), SHAPE)


@pytest.fixture
def images():
  return jax.random.uniform(jax.random.key(1), (BATCH, *SHAPE))


def step(student, teacher):
  """Takes one step of KD; returns the states before and after it."""
  recipe, method = Recipe(epochs=1, batch_size=BATCH), methods.create('kd')
  parts = Parts(
    student=student,
    teacher=teacher,
    method=method,
    task=SingleLabel(),
    augment=lambda key, batch: {
      **batch,
      'image': batch['image'] / jnp.float32(255),
    },
    optimizer=recipe.optimizer(1, student, method),
    steps_per_epoch=1,
  )
  given = teacher.initialize(jax.random.key(2), SHAPE)
  data = TrainSpec(BATCH, np.arange(BATCH) % CLASSES, CLASSES)
  state = init_state(parts, jax.random.key(0), SHAPE, BATCH, given, data)
  random = np.random.default_rng(0)
  batch = {
    'image': jnp.asarray(random.integers(0, 256, (BATCH, *SHAPE), np.uint8)),
    'label': jnp.arange(BATCH) % CLASSES,
    'index': jnp.arange(BATCH),
  }
  run = jax.jit(
    lambda state, given: train_step(state, given, batch, parts=parts)
  )
  return state, *run(state, given)


def changed_leaves(old, new):
  return [
    not np.array_equal(a, b)
    for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
  ]


@pytest.mark.slow
def test_network_is_trained_as_a_student(network):
  teacher = models.create('convnet_4_8', num_classes=CLASSES)
  before, after, metrics = step(network, teacher)
  assert np.isfinite(metrics['loss'])
  changed = changed_leaves(before.params['student'], after.params['student'])
  assert sum(changed) >= len(changed) - 1  # a bias before a norm has no effect
  changed = changed_leaves(before.batch_stats, after.batch_stats)
  assert any(changed) == HAS_STATISTICS[network.name]


@pytest.mark.slow
def test_network_is_used_as_a_teacher(network):
  student = models.create('convnet_4_8', num_classes=CLASSES)
  before, after, metrics = step(student, network)
  assert metrics['terms/kd'] > 0
  assert any(changed_leaves(before.params['student'], after.params['student']))


def test_features_are_complete_and_evaluation_has_no_side_effect(
  network, variables, images
):
  features, statistics = network.apply(variables, images, train=False)
  assert features.logits.shape == (BATCH, CLASSES)
  assert features.stages[-1].shape[-1] == features.embedding.shape[-1]
  for pre, stage in zip(features.pre_stages[-1:], features.stages[-1:]):
    np.testing.assert_array_equal(jax.nn.relu(pre), stage)
  assert not any(changed_leaves(variables['batch_stats'], statistics))
  alone, _ = network.apply(variables, images[:1], train=False)
  np.testing.assert_allclose(
    alone.logits, features.logits[:1], rtol=1e-5, atol=1e-6
  )


def test_saved_weights_are_loaded(tmp_path, network, variables):
  template = network.describe(SHAPE).variables
  convert.save_safetensors(tmp_path / 'file', variables)
  save_variables(tmp_path / 'folder', variables)
  for name in ('file', 'folder'):
    got = convert.load(tmp_path / name, template, network=network.name)
    assert jax.tree.structure(got) == jax.tree.structure(variables)
    assert not any(changed_leaves(got, variables))


def test_stablehlo_matches_the_network(tmp_path, network, variables, images):
  convert.save_stablehlo(tmp_path / 'file', network, variables, SHAPE)
  program = jax.export.deserialize((tmp_path / 'file').read_bytes())
  want, _ = network.apply(variables, images, train=False)
  np.testing.assert_allclose(
    program.call(images), want.logits, rtol=1e-5, atol=1e-6
  )
