"""Timing of a comparison's training steps, on images made on the device."""

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.methods import Method, Supervised
from kdjax.runtime import files
from kdjax.runtime.signals import stop_if_asked
from kdjax.studies.config import StudyConfig
from kdjax.studies.session import Session, Study
from kdjax.studies.setup import Setup
from kdjax.train.folding import inference_variables
from kdjax.train.state import Frozen
from kdjax.train.streamed import StreamedEpochs
from kdjax.typing import Batch

_PARTS = 5  # of the timed steps; their range is reported


class Timing:
  """Times the training steps of a comparison instead of training.

  Those of the student alone and of every method, with a teacher of random
  weights. One batch is made on the devices and used by all steps: there is no
  input. The result is printed and written to `timing.json`.

  Args:
    config: Configuration of a comparison with a streamed dataset.
    session: The call of the command.
    steps: Number of timed steps, in five parts.
  """

  def __init__(self, config: StudyConfig, session: Session, *, steps: int):
    self.session = session
    self.setup = Setup(config, session)
    self.steps = steps

  def run(self) -> Study:
    """Times all of it.

    Raises:
      Interrupted: If a signal requested a stop.
    """
    arms: dict[str, Method] = {'student': Supervised()}
    for arm, method in self.setup.config.arms.items():
      if method.needs_teacher:
        self.setup.check_memory(arm, method)
        arms[arm] = method
    rows = [self._measure(arm, method) for arm, method in arms.items()]
    if self.session.devices.is_main:
      content = {'versions': files.versions(), 'rows': rows}
      files.write_json(self.session.workdir / 'timing.json', content)
    return Study(self.session.workdir, has_runs=False)

  def _measure(self, arm: str, method: Method) -> dict[str, Any]:
    """Times the steps of a method; returns a row of the result."""
    setup = self.setup
    teacher = setup.teacher if method.needs_teacher else None
    epochs = setup.epochs(
      setup.student, teacher, method, setup.recipe_for(method)
    )
    assert isinstance(epochs, StreamedEpochs)
    steps = _Steps(epochs, setup, method)
    first_seconds = steps.seconds(1)
    each = max(1, self.steps // _PARTS)
    steps.seconds(each)  # warm-up
    seconds = []
    for _ in range(_PARTS):
      seconds.append(steps.seconds(each) / each)
      stop_if_asked(self.session.request, self.session.devices)
    size = epochs.program.batch_size
    median = statistics.median(seconds)
    row = {
      'arm': arm,
      'teacher': teacher.name if teacher is not None else None,
      'student': setup.student.name,
      'batch_size': size,
      'image_shape': epochs.program.image_shape,
      'precision': setup.config.precision,
      'device': jax.devices()[0].device_kind,
      'devices': self.session.devices.count,
      'images_per_second': _rounded(size / median),
      'seconds_per_step': {
        'median': _rounded(median),
        'min': _rounded(min(seconds)),
        'max': _rounded(max(seconds)),
      },
      'first_step_seconds': _rounded(first_seconds),  # includes compilation
    }
    self.session.progress.say(_sentence(row))
    return row


class _Steps:
  """Training steps on one batch, one after the other."""

  def __init__(self, epochs: StreamedEpochs, setup: Setup, method: Method):
    self._epochs = epochs
    program, devices = epochs.program, epochs.program.devices
    variables = {}
    if program.parts.teacher is not None:
      shape = program.image_shape
      variables = inference_variables(
        program.parts.teacher,
        program.parts.teacher.initialize(jax.random.key(1), shape),
        shape,
        use=setup.config.fold_teacher,
        method=method,
      )
    self._frozen = Frozen(teacher=devices.shard(variables))
    state = program.init_state(jax.random.key(0), variables)
    state = program.with_averages(devices.replicate(state))
    self._carry = epochs.first_carry(state, self._frozen)
    self._batch = devices.jit(self._make_batch)(jax.random.key(2))

  def seconds(self, count: int) -> float:
    """Returns the seconds that some steps take."""
    began = time.perf_counter()
    for _ in range(count):
      self._carry, _ = self._epochs.step(self._carry, self._frozen, self._batch)
    jax.block_until_ready(self._carry)
    return time.perf_counter() - began

  def _make_batch(self, key: jax.Array) -> Batch:
    """Draws a batch like a stream's; inside jit."""
    image, label = jax.random.split(key)
    program = self._epochs.program
    shape = program.batch_shapes()['image'].shape
    size, classes = program.batch_size, program.num_classes
    return program.devices.split(
      {
        'image': jax.random.bits(image, shape, jnp.uint8),
        'label': jax.random.randint(label, (size,), 0, classes, jnp.int32),
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
    f'{seconds["median"]} s per step of {row["batch_size"]} '
    f'({seconds["min"]} to {seconds["max"]}), {row["precision"]}, on '
    f'{row["devices"]} x {row["device"]}; the first step took '
    f'{row["first_step_seconds"]} s.'
  )
