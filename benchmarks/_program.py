"""Programs that train a pair of networks, and their first arguments."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import methods, models
from kdjax.data import Augmentation, Split
from kdjax.runtime.mesh import Devices
from kdjax.tasks import SingleLabel
from kdjax.train import (
  Carry,
  Frozen,
  Parts,
  Program,
  Recipe,
  ResidentEpochs,
  TrainState,
  count_steps,
)
from kdjax.typing import PyTree

IMAGE_SHAPE = (32, 32, 3)
CLASSES = 100


def make_program(
  teacher: str | None,
  student: str,
  method: str,
  *,
  train: Any,
  batch_size: int,
  devices: Devices,
  num_classes: int = CLASSES,
  precision: str = 'float32',
  crop_padding: int = 4,
) -> Program:
  """Returns the program that trains a pair with the default recipe.

  Args:
    teacher: Name of the teacher network; `None` trains the student alone.
    student: Name of the student network.
    method: Name of the method, as for `--method`.
    train: The training split.
    batch_size: Images per step, over all devices.
    devices: Devices that share each batch.
    num_classes: Number of classes of the data.
    precision: Dtype that both networks compute in.
    crop_padding: Padding of the random crops; images are flipped as well.
  """
  create = functools.partial(
    models.create, num_classes=num_classes, dtype=jnp.dtype(precision)
  )
  network, made = create(student), methods.create(method)
  steps = count_steps(train, batch_size)
  parts = Parts(
    student=network,
    teacher=None if teacher is None else create(teacher),
    method=made,
    task=SingleLabel(),
    augment=Augmentation(crop_padding=crop_padding, flip=True),
    optimizer=Recipe(batch_size=batch_size).optimizer(steps, network, made),
    steps_per_epoch=steps,
  )
  return Program(
    parts=parts,
    devices=devices,
    train=train,
    batch_size=batch_size,
    num_classes=num_classes,
  )


def random_split(count: int, shape: tuple[int, ...] = IMAGE_SHAPE) -> Split:
  """Returns random images of `CLASSES` classes."""
  random = np.random.default_rng(0)
  return Split(
    random.integers(0, 256, (count, *shape), dtype=np.uint8),
    random.integers(0, CLASSES, count, dtype=np.int32),
  )


def initialize(program: Program) -> tuple[TrainState, PyTree]:
  """Returns the state before the first step, and the teacher's variables.

  Both are on the host's default device; the networks are untrained.
  """
  key, teacher, variables = jax.random.key(0), program.parts.teacher, {}
  if teacher is not None:
    variables = teacher.initialize(key, program.image_shape)
  return program.init_state(key, variables), variables


def first_epoch(
  epochs: ResidentEpochs, state: TrainState, frozen: Frozen
) -> Callable[[], None]:
  """Returns a call that trains the first epoch, each time from its start.

  Args:
    epochs: The compiled epochs.
    state: State before the first step.
    frozen: Frozen arguments of the step, on the devices of `epochs`.
  """
  devices = epochs.program.devices
  # Each call donates a copy.
  first = copy(epochs.first_carry(copy(state), frozen))
  key = devices.replicate(jax.random.key(1))

  def call() -> None:
    order = epochs.begin_epoch(key, 0)
    steps = epochs.steps_per_epoch
    carry = epochs.advance(copy(first), frozen, order, steps)
    check_step(carry, steps)

  return call


def check_step(carry: Carry, step: int) -> None:
  """Waits for a carry, and raises a `ValueError` if training has diverged."""
  if int(carry.state.step) != step:
    raise ValueError(
      f'The loop ended at step {int(carry.state.step)} of {step}, where the '
      'loss is not finite: the measured time would be meaningless.'
    )


def copy(tree: PyTree) -> PyTree:
  """Returns copies of all arrays, which can be donated."""
  return jax.tree.map(lambda array: array.copy(), tree)
