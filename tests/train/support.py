"""A small dataset, networks that compile fast, and runs for tests."""

import contextlib
import dataclasses
import functools
import pathlib
import signal
from collections.abc import Callable
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from kdjax import data, layers, methods
from kdjax.features import Features
from kdjax.methods import Method
from kdjax.methods.base import TrainSpec
from kdjax.models import linen_network
from kdjax.network import Network
from kdjax.runtime import files
from kdjax.runtime.checkpoints import load_variables
from kdjax.runtime.mesh import Devices, first_devices
from kdjax.runtime.progress import Progress
from kdjax.runtime.run_folder import steps_done
from kdjax.runtime.signals import Interrupted, StopRequest
from kdjax.tasks import SingleLabel
from kdjax.train import (
  Carry,
  Frozen,
  Parts,
  Program,
  Recipe,
  ResidentEpochs,
  Run,
  RunSettings,
  TrainState,
  init_state,
  loop,
)
from kdjax.train.epochs import Epochs
from kdjax.typing import PyTree

CLASSES = 3
IMAGE_SHAPE = (4, 4, 1)
_OF_PROCESS = ('seconds', 'images_per_second', 'compilations')
TRAIN, TEST, BATCH = 21, 13, 8  # two full batches and one of five


class Dense(nn.Module):
  """A network of one hidden layer with batch norm."""

  width: int
  dtype: Any = jnp.float32

  classifier_name = 'head'

  def setup(self):
    # No bias: batch norm would cancel it, and its gradient would be rounding.
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
  """Returns noisy uint8 images of three patterns, and their patterns."""
  rng = np.random.default_rng(seed)
  patterns = np.random.default_rng(0).integers(0, 200, (CLASSES, *IMAGE_SHAPE))
  labels = np.arange(count) % CLASSES
  noise = rng.integers(0, 56, (count, *IMAGE_SHAPE))
  return (patterns[labels] + noise).astype(np.uint8), labels


def dataset() -> data.Dataset:
  made = data.from_arrays('toy', *arrays(TRAIN, 1), *arrays(TEST, 2))
  return dataclasses.replace(made, augment=data.Augmentation(crop_padding=1))


def train_spec(train: data.Split | data.StreamedSplit) -> TrainSpec:
  return TrainSpec(len(train), train.labels, CLASSES)


def parts(
  method: Method | str = 'none',
  recipe: Recipe | None = None,
  student: Network | None = None,
  teacher: Network | None = None,
) -> Parts:
  """Returns the parts of a step, with the stages of the recipe."""
  made = methods.create(method) if isinstance(method, str) else method
  recipe = recipe or Recipe(epochs=3, batch_size=BATCH)
  student = student or network()
  made, steps = recipe.staged(made), -(-TRAIN // recipe.batch_size)
  return Parts(
    student=student,
    teacher=(teacher or network('teacher')) if made.needs_teacher else None,
    method=made,
    task=SingleLabel(),
    augment=dataset().augment,
    optimizer=recipe.optimizer(steps, student, made),
    steps_per_epoch=steps,
  )


@functools.cache
def teacher_variables(made: Parts) -> PyTree:
  """Returns fixed variables of the teacher; empty without a teacher."""
  if made.teacher is None:
    return {}
  return made.teacher.initialize(jax.random.key(99), IMAGE_SHAPE)


def first_state(made: Parts, seed: int = 0) -> TrainState:
  return init_state(
    made,
    jax.random.key(seed),
    IMAGE_SHAPE,
    BATCH,
    teacher_variables(made),
    train_spec(dataset().train),
  )


def first_batch(count: int = BATCH) -> dict[str, jax.Array]:
  train = dataset().train
  return {
    'image': jnp.asarray(train.images[:count]),
    'label': jnp.asarray(train.labels[:count]),
    'index': jnp.arange(count, dtype=jnp.int32),
  }


def program(
  made: Parts, devices: Devices | None = None, recipe: Recipe | None = None
) -> Program:
  """Returns a program over the dataset, with the averages of a recipe."""
  return Program(
    parts=made,
    devices=devices or first_devices(1),
    train=dataset().train,
    batch_size=BATCH,
    num_classes=CLASSES,
    wrappers=recipe.wrappers(made.steps_per_epoch) if recipe else (),
  )


def epochs(
  made: Parts, devices: Devices | None = None, recipe: Recipe | None = None
) -> ResidentEpochs:
  """Returns epochs over the dataset; see `program`."""
  return ResidentEpochs(program(made, devices, recipe))


def start(made: Epochs) -> tuple[Carry, Frozen, jax.Array]:
  """Returns the arguments of `advance`: carry, frozen arguments, data key."""
  own, devices = made.program, made.program.devices
  teacher = teacher_variables(own.parts)
  frozen = Frozen(teacher=devices.replicate(teacher))
  state = own.with_averages(own.init_state(jax.random.key(0), teacher))
  key = devices.replicate(jax.random.key(7))
  return made.first_carry(state, frozen), frozen, key


def advance(
  made: Epochs, carry: Carry, frozen: Frozen, key: jax.Array, stop: int
) -> Carry:
  """Returns the carry after the steps up to `stop`, in one dispatch."""
  order = made.begin_epoch(key, int(carry.state.step) // made.steps_per_epoch)
  return made.advance(carry, frozen, order, stop)


def run(
  folder: pathlib.Path, made: Epochs | None = None, **changes: Any
) -> Run:
  """Returns a run of three epochs, evaluated and saved after each."""
  made = made or epochs(parts())
  settings = {
    'recipe': Recipe(epochs=3, batch_size=BATCH),
    'test': dataset().test,
    'teacher_variables': teacher_variables(made.program.parts),
    'key': jax.random.key(0),
    'about': {
      'arm': 'student',
      'role': 'student',
      'network': 'dense',
      'seed': 0,
    },
    'settings': RunSettings(),
    **changes,
  }
  return Run(folder=epath.Path(folder), epochs=made, **settings)


def train(made: Run, request: StopRequest | None = None) -> list[str]:
  """Trains a run to its end; returns the messages to the user."""
  progress = Listener()
  loop.train(made, request or StopRequest(), progress)
  return progress.said


def lines(folder: pathlib.Path, kind: str | None = None) -> list[dict]:
  """Returns the log of a run without times and compilations."""
  return [
    {name: value for name, value in line.items() if name not in _OF_PROCESS}
    for line in files.read_lines(folder / 'metrics.jsonl')
    if kind in (None, line['kind'])
  ]


def stored(made: Epochs, folder: pathlib.Path, name: str = 'student') -> PyTree:
  """Returns the variables of a network of the student's kind in a folder."""
  program = made.program
  like = program.parts.student.describe(program.image_shape).variables
  return load_variables(folder / name, like)


def same_end(
  made: Epochs,
  one: pathlib.Path,
  other: pathlib.Path,
  networks: tuple[str, ...] = ('student',),
) -> None:
  """Asserts that two runs have the same log, samples and networks."""
  assert lines(one) == lines(other)
  for name in networks:
    identical(stored(made, one, name), stored(made, other, name))
  with np.load(one / 'features.npz') as a, np.load(other / 'features.npz') as b:
    identical(dict(a), dict(b))


def first_carry(made: Run) -> Carry:
  """Returns the carry before the first step of a new run, prepared."""
  carries = []

  def stop(carry: Carry, *args: Any) -> None:
    carries.append(carry)
    StopRequest().stop()

  with (
    mock.patch.object(made.epochs, 'advance', stop),
    contextlib.suppress(Interrupted),
  ):
    train(made)
  return carries[0]


class StopAfter(StopRequest):
  """A stop request that becomes true after `looks` checks."""

  signal_number = signal.SIGTERM

  def __init__(self, looks: int):
    self.looks = looks

  @property
  def asked(self) -> bool:
    self.looks -= 1
    return self.looks < 0


class StopWhen(StopRequest):
  """A stop request that becomes true when a condition holds."""

  signal_number = signal.SIGTERM

  def __init__(self, condition: Callable[[], bool]):
    self.condition = condition

  @property
  def asked(self) -> bool:
    return self.condition()


def stop_after_epoch(made: Run, epoch: int) -> None:
  """Trains a run until an epoch is logged, and stops it."""
  request = StopWhen(lambda: len(lines(made.folder, 'train')) >= epoch)
  with pytest.raises(Interrupted):
    train(made, request)
  assert steps_done(made.folder) == epoch * made.epochs.steps_per_epoch


class Listener(Progress):
  """Invisible progress that records the messages."""

  def __init__(self):
    super().__init__(enabled=False)
    self.said: list[str] = []

  def say(self, message: str) -> None:
    self.said.append(message)

  def run(self, about: Any, total: int, done: int) -> Any:
    return contextlib.nullcontext(lambda step, scores: None)


def close(one: PyTree, other: PyTree, tolerance: float) -> None:
  """Asserts that trees agree, relative to each array's largest value."""

  def check(path, a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    scale = max(np.abs(a).max(initial=0), 0.1)
    name = jax.tree_util.keystr(path)
    np.testing.assert_allclose(
      a / scale, b / scale, rtol=0, atol=tolerance, err_msg=name
    )

  jax.tree_util.tree_map_with_path(check, numbers(one), numbers(other))


def identical(one: PyTree, other: PyTree) -> None:
  """Asserts that trees are bit-identical."""
  jax.tree.map(np.testing.assert_array_equal, numbers(one), numbers(other))


def numbers(tree: PyTree) -> PyTree:
  """Returns arrays on the host, with keys as integers."""

  def number(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(
      leaf.dtype, jax.dtypes.prng_key
    ):
      leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)

  return jax.tree.map(number, tree)
