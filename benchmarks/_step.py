"""Training of one pair on random images: single steps, and the loop."""

import dataclasses

import jax
import numpy as np

from benchmarks import timing
from benchmarks._program import (
  check_step,
  copy,
  initialize,
  make_program,
  random_split,
)
from kdjax.methods import Fcfd, Method
from kdjax.methods.fcfd_paths import candidates
from kdjax.runtime.mesh import all_devices
from kdjax.train import Frozen, ResidentEpochs


@dataclasses.dataclass(frozen=True)
class Compiled:
  """Statistics of a compiled program, as XLA reports them.

  A loop counts as one step, a branch as its most expensive alternative, and
  several devices as one.

  Attributes:
    seconds: Compile time.
    bytes_accessed: Bytes read and written.
    peak_bytes: Arguments, results and temporaries, each counted once.
  """

  seconds: float
  bytes_accessed: float
  peak_bytes: int


class Pair:
  """One pair and method on all devices, as single steps and as a loop.

  Args:
    teacher: Name of the teacher network; `None` trains the student alone.
    student: Name of the student network.
    method: Name of the method, as for `--method`.
    batch_size: Images per step.
    precision: Dtype that both networks compute in.
    steps_per_epoch: Number of batches of the random dataset, all full.
    crop_padding: Padding of the random crops; images are flipped as well.

  Attributes:
    epochs: The compiled epochs.
    state: State before the first step.
    frozen: Frozen arguments of the step.
    batch: The first images, as a batch on the devices.
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
    devices = all_devices()
    self.program = make_program(
      teacher,
      student,
      method,
      train=random_split(batch_size * steps_per_epoch),
      batch_size=batch_size,
      devices=devices,
      precision=precision,
      crop_padding=crop_padding,
    )
    self.epochs = ResidentEpochs(self.program)
    state, variables = initialize(self.program)
    self.state = devices.replicate(state)
    self.frozen = Frozen(teacher=devices.replicate(variables))
    rows = jax.tree.map(
      lambda array: np.asarray(array[:batch_size]), self.epochs.train_data
    )
    self.batch = devices.shard_batch(rows, batch_size)
    # Both donate their carry.
    self._carry = self.epochs.first_carry(copy(self.state), self.frozen)
    self._single = copy(self._carry)
    self._step = devices.jit(self.program.advance_one, donate_argnums=0)
    self._key = devices.replicate(jax.random.key(1))
    self._order, self._epoch = self.epochs.begin_epoch(self._key, 0), 0
    self._done = 0

  def alone(self, steps: int) -> None:
    """Dispatches each step separately, as for streamed data."""
    for _ in range(steps):
      self._single = self._step(self._single, self.frozen, self.batch)
    jax.block_until_ready(self._single)

  def loop(self, steps: int) -> None:
    """Trains with one dispatch per epoch."""
    end, per_epoch = self._done + steps, self.epochs.steps_per_epoch
    while self._done < end:
      epoch = self._done // per_epoch
      self._done = min(end, (epoch + 1) * per_epoch)
      if epoch != self._epoch:
        self._order = self.epochs.begin_epoch(self._key, epoch)
        self._epoch = epoch
      self._carry = self.epochs.advance(
        self._carry, self.frozen, self._order, self._done
      )
    check_step(self._carry, self._done)

  def compile(self) -> Compiled:
    """Compiles the loop, so that calls of `loop` do not.

    Returns:
      Statistics of the compiled program.
    """
    lowered = self.epochs.lower(self._carry, self.frozen, self._order)
    program, seconds = timing.timed(lowered.compile)
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
    """Counts the floating-point operations of a step.

    For FCFD it is the mean over the paths that a step may draw. The program is
    counted before compilation, because on some platforms the kernels of
    libraries are not counted afterwards.
    """
    method, teacher = self.program.parts.method, self.program.parts.teacher
    if not isinstance(method, Fcfd):
      return self._operations(method)
    assert teacher is not None
    features = teacher.describe(self.program.image_shape).features
    without_paths = dataclasses.replace(method, directions='nomix')
    by_path = [
      self._operations(dataclasses.replace(method, paths=(path.name,)))
      for path in candidates(len(features.boundaries), method.directions)
    ]
    base = self._operations(without_paths)
    return base + 2 * (sum(by_path) / len(by_path) - base)

  def _operations(self, method: Method) -> float:
    parts = dataclasses.replace(self.program.parts, method=method)
    program = dataclasses.replace(self.program, parts=parts)
    lowered = jax.jit(program.step).lower(self.state, self.frozen, self.batch)
    return lowered.cost_analysis()['flops']
