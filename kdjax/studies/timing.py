"""The steps of a comparison by themselves, on images made on the device."""

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.methods import Method, Supervised
from kdjax.runtime import files
from kdjax.studies.comparison import Comparison, Study
from kdjax.train.parts import init_state
from kdjax.train.streamed import StreamedProgram
from kdjax.typing import PyTree

_PARTS = 5  # of the steps that are timed; their spread is said


class Timing(Comparison):
  """A comparison of which nothing is trained: its steps are timed.

  Of the student alone and of every method, with a teacher of random weights.
  One batch is made on the devices and all steps use it: there is no input. What
  is found is said and written to `timing.json`.

  Args:
    steps: How many are timed, in five parts.
  """

  def __init__(self, *arguments: Any, steps: int, **more: Any):
    super().__init__(*arguments, **more)
    self.steps = steps

  def run(self) -> Study:
    """Times all of it.

    Raises:
      Interrupted: If a signal asked for it.
    """
    arms: dict[str, Method] = {'student': Supervised(), **self.arms}
    rows = [self._measure(arm, method) for arm, method in arms.items()]
    if self.devices.is_main:
      made = {'versions': files.versions(), 'rows': rows}
      files.write_json(self.workdir / 'timing.json', made)
    return Study(self.workdir, has_runs=False)

  def _measure(self, arm: str, method: Method) -> dict[str, Any]:
    teacher = self.teacher if method.needs_teacher else None
    program = self.program(self.student, teacher, method, self._recipe(method))
    assert isinstance(program, StreamedProgram)
    variables = {}
    if teacher is not None:
      key = jax.random.key(1)
      variables = self.frozen(
        teacher.initialize(key, self.dataset.image_shape), method
      )
    walk = _Walk(program, variables, self.dataset.num_classes)
    compiled = walk.seconds(1)
    each = max(1, self.steps // _PARTS)
    walk.seconds(each)  # what is slow once
    seconds = []
    for _ in range(_PARTS):
      seconds.append(walk.seconds(each) / each)
      if self.devices.any(self.request.asked):
        self.request.stop()
    row = {
      'arm': arm,
      'teacher': teacher.name if teacher is not None else None,
      'student': self.student.name,
      'batch_size': program.batch_size,
      'image_shape': program.image_shape,
      'precision': self.config.precision,
      'device': jax.devices()[0].device_kind,
      'devices': self.devices.count,
      'images_per_second': _rounded(
        program.batch_size / statistics.median(seconds)
      ),
      'seconds_per_step': {
        'median': _rounded(statistics.median(seconds)),
        'min': _rounded(min(seconds)),
        'max': _rounded(max(seconds)),
      },
      'first_step_seconds': _rounded(compiled),  # it compiles
    }
    self.progress.say(_sentence(row))
    return row


class _Walk:
  """Steps on one batch, one after the other."""

  def __init__(
    self, program: StreamedProgram, teacher_variables: PyTree, classes: int
  ):
    self.program = program
    self.classes = classes
    devices = program.devices
    self.teacher_variables = devices.shard(teacher_variables)
    state = init_state(
      program.parts,
      jax.random.key(0),
      program.image_shape,
      program.batch_size,
      teacher_variables,
    )
    self._carry = program.first_carry(
      devices.replicate(state), self.teacher_variables
    )
    self._batch = jax.jit(self._make_batch)(jax.random.key(2))

  def seconds(self, count: int) -> float:
    """How long that many steps take."""
    began = time.perf_counter()
    for _ in range(count):
      self._carry, _ = self.program.step(
        self._carry, self.teacher_variables, self._batch
      )
    jax.block_until_ready(self._carry)
    return time.perf_counter() - began

  def _make_batch(self, key: jax.Array) -> PyTree:
    """What a stream gives, drawn inside jit."""
    image, label = jax.random.split(key)
    shapes = self.program.batch_shapes()
    size = self.program.batch_size
    return self.program.devices.split(
      {
        'image': jax.random.bits(image, shapes['image'].shape, jnp.uint8),
        'label': jax.random.randint(label, (size,), 0, self.classes, jnp.int32),
        'index': jnp.arange(size, dtype=jnp.int32),
        'decoded': jnp.ones(size, bool),
        'skipped': jnp.zeros(size, jnp.int32),
      }
    )


def _rounded(number: float) -> float:
  return float(f'{number:.4g}')


def _sentence(row: dict[str, Any]) -> str:
  seconds = row['seconds_per_step']
  return (
    f'{row["arm"]}: {row["images_per_second"]:,} images/s, '
    f'{seconds["median"]} s a step of {row["batch_size"]} '
    f'({seconds["min"]} to {seconds["max"]}), {row["precision"]}, on '
    f'{row["devices"]} x {row["device"]}; the first took '
    f'{row["first_step_seconds"]} s.'
  )
