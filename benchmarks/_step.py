"""A pair that trains on random images: its step alone, and in the loop."""

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import methods, models
from kdjax.data import Augmentation, Split
from kdjax.methods import Fcfd, Method
from kdjax.methods.fcfd_paths import candidates
from kdjax.runtime.mesh import all_devices
from kdjax.tasks import SingleLabel
from kdjax.train import Parts, Program, Recipe, init_state
from kdjax.train.step import train_step

IMAGE_SHAPE = (32, 32, 3)
CLASSES = 100


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What XLA says of a program, and how long it took over it.

  Of a loop it counts one step; of a branch, the one that does most; of several
  devices, one.
  """

  seconds: float
  bytes_accessed: float
  peak_bytes: int  # arguments, results and temporaries, each counted once


class Jax:
  """One pair and method, as a step by itself and as a loop.

  Args:
    teacher: A name of the zoo; None for the student alone.
    student: Another.
    method: As flags name it.
    batch_size: Images of a step.
    precision: What both networks compute in.
    steps_per_epoch: Batches of the set, all whole.
    crop_padding: Of the augmentation, which flips as well.
  """

  def __init__(
    self,
    teacher: str | None,
    student: str,
    method: str,
    batch_size: int,
    precision: str = 'float32',
    steps_per_epoch: int = 4,
    crop_padding: int = 4,
  ):
    self.steps_per_epoch = steps_per_epoch
    split = _noise(batch_size * steps_per_epoch)
    create = functools.partial(
      models.create, num_classes=CLASSES, dtype=jnp.dtype(precision)
    )
    self.parts = Parts(
      student=create(student),
      teacher=None if teacher is None else create(teacher),
      method=methods.create(method),
      task=SingleLabel(),
      augment=Augmentation(crop_padding=crop_padding, flip=True),
      optimizer=Recipe(batch_size=batch_size).optimizer(steps_per_epoch),
      steps_per_epoch=steps_per_epoch,
    )
    self.program = Program(self.parts, all_devices(), split, batch_size)
    key = jax.random.key(0)
    place = self.program.devices.replicate
    self.teacher = {}
    if self.parts.teacher is not None:
      self.teacher = place(self.parts.teacher.initialize(key, IMAGE_SHAPE))
    state = place(
      init_state(self.parts, key, IMAGE_SHAPE, batch_size, self.teacher)
    )
    self.key = place(jax.random.key(1))
    self.order, self._epoch = self.program.order(self.key, 0), 0
    # Of the step by itself, which gives its buffers away as the loop does.
    self.state = jax.tree.map(lambda array: array.copy(), state)
    self.carry = self.program.first_carry(state, self.teacher)
    self._done = 0
    self.step = jax.jit(
      functools.partial(train_step, parts=self.parts), donate_argnums=0
    )
    self.batch = self.program.devices.spread(
      jax.tree.map(
        lambda array: np.asarray(array[:batch_size]), self.program.train_data
      ),
      batch_size,
    )

  def alone(self, steps: int) -> None:
    """Dispatches step by step, as for data that are streamed."""
    for _ in range(steps):
      self.state, _ = self.step(self.state, self.teacher, self.batch)
    jax.block_until_ready(self.state.params)

  def loop(self, steps: int) -> None:
    """As few dispatches as there are epochs in the steps."""
    end = self._done + steps
    while self._done < end:
      epoch = self._done // self.steps_per_epoch
      self._done = min(end, (epoch + 1) * self.steps_per_epoch)
      if epoch != self._epoch:
        self.order, self._epoch = self.program.order(self.key, epoch), epoch
      self.carry = self.program.advance(
        self.carry,
        self.teacher,
        self.program.train_data,
        self.order,
        np.int32(self._done),
      )
    if int(self.carry[0].step) != self._done:
      raise ValueError(
        f'The loop ended at step {int(self.carry[0].step)} of {self._done}: '
        'the loss is not finite there, and no time is worth anything.'
      )

  def compile(self) -> Compiled:
    """The program that trains; calls of `loop` find it compiled."""
    lowered = self.program.advance.lower(
      self.carry, self.teacher, self.program.train_data, self.order, np.int32(1)
    )
    began = time.perf_counter()
    program = lowered.compile()
    seconds = time.perf_counter() - began
    memory = program.memory_analysis()
    return Compiled(
      seconds,
      program.cost_analysis()['bytes accessed'],
      memory.temp_size_in_bytes
      + memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      - memory.alias_size_in_bytes,
    )

  def operations(self) -> float:
    """Floating-point operations of a step, the mean over what it may draw.

    Counted on what the compiler is given: of what it makes of that, a library's
    kernels are not counted everywhere.
    """
    method = self.parts.method
    if not isinstance(method, Fcfd):
      return self._operations(method)
    stages = len(self.parts.teacher.describe(IMAGE_SHAPE).features.boundaries)
    without = dataclasses.replace(method, directions='nomix')
    forced = [
      self._operations(dataclasses.replace(method, paths=(path.name,)))
      for path in candidates(stages, method.directions)
    ]
    base = self._operations(without)
    return base + 2 * (sum(forced) / len(forced) - base)

  def _operations(self, method: Method) -> float:
    parts = dataclasses.replace(self.parts, method=method)
    step = jax.jit(functools.partial(train_step, parts=parts))
    lowered = step.lower(self.state, self.teacher, self.batch)
    return lowered.cost_analysis()['flops']


def _noise(count: int) -> Split:
  random = np.random.default_rng(0)
  return Split(
    random.integers(0, 256, (count, *IMAGE_SHAPE), dtype=np.uint8),
    random.integers(0, CLASSES, count, dtype=np.int32),
  )
