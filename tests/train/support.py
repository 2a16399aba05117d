"""Small things to train: an image set, networks that compile in a moment."""

import contextlib
import dataclasses
import functools
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kdjax import data, layers, methods
from kdjax.features import Features
from kdjax.methods import Method
from kdjax.models import Network, linen_network
from kdjax.runtime.mesh import Devices, first_devices
from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import StopRequest
from kdjax.studies.schedule import train_one
from kdjax.tasks import SingleLabel
from kdjax.train import (
  Parts,
  Program,
  Recipe,
  Run,
  RunSettings,
  TrainState,
  init_state,
)

PyTree = Any
CLASSES = 3
IMAGE_SHAPE = (4, 4, 1)
TRAIN, TEST, BATCH = 21, 13, 8  # two whole batches and one of five


class Dense(nn.Module):
  """A hidden layer with batch norm; as much of a network as a step needs."""

  width: int
  dtype: Any = jnp.float32

  classifier_name = 'head'

  def setup(self):
    # Without a bias, which batch norm would take away: its gradient would be
    # nothing but rounding.
    self.hidden = layers.Dense(self.width, use_bias=False, dtype=self.dtype)
    self.norm = layers.BatchNorm(dtype=self.dtype)
    self.head = layers.Dense(CLASSES, dtype=self.dtype)

  def __call__(self, images: jax.Array, *, train: bool) -> Features:
    x = self.hidden(images.reshape(images.shape[0], -1))
    pre = self.norm(x, train=train)
    out = nn.relu(pre)
    return Features((out,), (pre,), (out,), out, self.classify(out))

  def classify(self, embedding: jax.Array) -> jax.Array:
    return self.head(embedding)


def network(name: str = 'dense', width: int = 6, **kwargs: Any) -> Network:
  return linen_network(Dense(width, **kwargs), name=name)


def arrays(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Noisy images of three patterns, uint8, and which pattern each shows."""
  rng = np.random.default_rng(seed)
  patterns = np.random.default_rng(0).integers(0, 200, (CLASSES, *IMAGE_SHAPE))
  labels = np.arange(count) % CLASSES
  noise = rng.integers(0, 56, (count, *IMAGE_SHAPE))
  return (patterns[labels] + noise).astype(np.uint8), labels


def dataset() -> data.Dataset:
  made = data.from_arrays('toy', *arrays(TRAIN, 1), *arrays(TEST, 2))
  return dataclasses.replace(made, augment=data.Augmentation(crop_padding=1))


def parts(
  method: Method | str = 'none',
  recipe: Recipe | None = None,
  student: Network | None = None,
  teacher: Network | None = None,
) -> Parts:
  made = methods.create(method) if isinstance(method, str) else method
  recipe = recipe or Recipe(epochs=3, batch_size=BATCH)
  steps = -(-TRAIN // recipe.batch_size)
  return Parts(
    student=student or network(),
    teacher=(teacher or network('teacher')) if made.needs_teacher else None,
    method=made,
    task=SingleLabel(),
    augment=dataset().augment,
    optimizer=recipe.optimizer(steps),
    steps_per_epoch=steps,
    ema_decay=recipe.ema_decay,
  )


@functools.cache
def teacher_variables(made: Parts) -> PyTree:
  """Of the teacher of `made`, the same each time; empty without one."""
  if made.teacher is None:
    return {}
  return made.teacher.initialize(jax.random.key(99), IMAGE_SHAPE)


def first_state(made: Parts, seed: int = 0) -> TrainState:
  key = jax.random.key(seed)
  return init_state(made, key, IMAGE_SHAPE, BATCH, teacher_variables(made))


def first_batch(count: int = BATCH) -> dict[str, jax.Array]:
  train = dataset().train
  return {
    'image': jnp.asarray(train.images[:count]),
    'label': jnp.asarray(train.labels[:count]),
    'index': jnp.arange(count, dtype=jnp.int32),
  }


def program(made: Parts, devices: Devices | None = None) -> Program:
  return Program(made, devices or first_devices(1), dataset().train, BATCH)


def start(made: Program) -> tuple[tuple, PyTree, jax.Array]:
  """What `advance` takes besides the set: carry, teacher and data key."""
  place = made.devices.replicate
  teacher = place(teacher_variables(made.parts))
  state = place(first_state(made.parts))
  key = place(jax.random.key(7))
  return (state, made.init_sums(state, teacher)), teacher, key


def advance(
  made: Program, carry: tuple, teacher: PyTree, key: jax.Array, stop: int
) -> tuple:
  """The carry after the steps up to `stop`, in one dispatch."""
  order = made.order(key, int(carry[0].step) // made.steps_per_epoch)
  return made.advance(carry, teacher, made.train_data, order, np.int32(stop))


def run(
  folder: pathlib.Path, made: Program | None = None, **changes: Any
) -> Run:
  """A run of three epochs, evaluated and saved after each."""
  made = made or program(parts())
  recipe = changes.pop('recipe', Recipe(epochs=3, batch_size=BATCH))
  about = {'arm': 'student', 'role': 'student', 'network': 'dense', 'seed': 0}
  settings = {
    'recipe': recipe,
    'test': dataset().test,
    'teacher_variables': teacher_variables(made.parts),
    'key': jax.random.key(0),
    'about': about,
    'settings': RunSettings(),
    **changes,
  }
  return Run(folder, made, **settings)


def train(made: Run, request: StopRequest | None = None) -> list[str]:
  """Trains a run to its end; gives the warnings."""
  progress = _Listener(enabled=False)
  train_one(made, request or StopRequest(), progress)
  return progress.said


class _Listener(Progress):
  """Progress that nobody sees, and that remembers what was said besides."""

  def __init__(self, *, enabled: bool):
    super().__init__(enabled=enabled)
    self.said: list[str] = []

  def say(self, message: str) -> None:
    self.said.append(message)

  def run(self, about: Any, total: int, done: int) -> Any:
    return contextlib.nullcontext(lambda step, scores: None)


def close(one: PyTree, other: PyTree, tolerance: float) -> None:
  """Asserts that trees agree, relative to each array's largest number."""

  def check(path, a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    scale = max(np.abs(a).max(initial=0), 0.1)
    name = jax.tree_util.keystr(path)
    np.testing.assert_allclose(
      a / scale, b / scale, rtol=0, atol=tolerance, err_msg=name
    )

  jax.tree_util.tree_map_with_path(check, numbers(one), numbers(other))


def identical(one: PyTree, other: PyTree) -> None:
  """Asserts that trees hold the same bits."""
  jax.tree.map(np.testing.assert_array_equal, numbers(one), numbers(other))


def numbers(tree: PyTree) -> PyTree:
  """Arrays on the host, keys as the integers they are made of."""

  def number(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(
      leaf.dtype, jax.dtypes.prng_key
    ):
      leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)

  return jax.tree.map(number, tree)
