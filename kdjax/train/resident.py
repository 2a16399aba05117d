"""Many steps per dispatch over a set that lives on the devices."""

import copy
import functools
from collections.abc import Callable, Sized
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data import Augmentation, batch_order
from kdjax.runtime.mesh import Devices, Lanes, first_devices
from kdjax.train.averaging import add_snapshot
from kdjax.train.evaluate import Passes
from kdjax.train.parts import Parts
from kdjax.train.state import TrainState
from kdjax.train.step import step_keys, train_step
from kdjax.typing import PyTree

# Sums over the steps of an epoch so far, of what `train_step` reports.
Sums = dict[str, jax.Array]


class Program:
  """The compiled functions of one pair, method and set, for any seed.

  Each is compiled once: how many steps a dispatch does is an argument, and a
  smaller last batch is a branch of the same executable.
  """

  def __init__(
    self, parts: Parts, devices: Devices, train: Any, batch_size: int
  ):
    check_batch_size(batch_size, train)
    self.parts = parts
    self.devices = devices
    self.batch_size = batch_size
    self.image_shape = train.image_shape
    self.steps_per_epoch = self.count_steps(train, batch_size)
    self.train_data = self.place(train)
    self._traces = [0]  # shared with copies for other devices
    self.add_snapshot = jax.jit(add_snapshot, donate_argnums=0)
    self._compile()

  def _compile(self) -> None:
    """Makes the functions that depend on where the images lie."""
    self.passes = Passes(self.parts, self.devices, self.batch_size)
    # The carry is donated: the loop updates it in place.
    self.advance = jax.jit(self._advance, donate_argnums=0)
    self._permute = jax.jit(self._permutation)

  @staticmethod
  def count_steps(train: Sized, batch_size: int) -> int:
    """Batches of an epoch, a smaller last one counted."""
    return -(-len(train) // batch_size)

  def place(self, split: Any) -> Any:
    """A set on the devices, uint8 as it is stored."""
    return self.devices.replicate(
      {
        'image': split.images,
        'label': split.labels,
        'index': np.arange(len(split.labels), dtype=np.int32),
      }
    )

  def init_sums(self, state: TrainState, teacher_variables: PyTree) -> Sums:
    """Zeros for everything a step reports, found without computing it."""
    step = functools.partial(train_step, parts=self.parts)
    _, metrics = jax.eval_shape(
      step, state, teacher_variables, self.batch_shapes()
    )
    zeros = {name: np.zeros((), np.float32) for name in metrics}
    return self.devices.replicate({**zeros, 'examples': np.float32(0)})

  def batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
    """What a batch of the training set is made of."""
    return {
      name: jax.ShapeDtypeStruct(
        (self.batch_size, *array.shape[1:]), array.dtype
      )
      for name, array in self.train_data.items()
    }

  def order(self, data_key: jax.Array, epoch: int) -> jax.Array:
    """What `advance` takes to know which images an epoch's batches are of.

    Here their places, int32 `[N]`, a function of key and epoch: drawn once an
    epoch, because sorting takes longer than a dispatch does otherwise.
    """
    return self.devices.awaited(self._permute(data_key, np.int32(epoch)))

  def first_carry(self, state: TrainState, teacher_variables: PyTree) -> tuple:
    """What `advance` takes before the first step, and gives after any."""
    return state, self.init_sums(state, teacher_variables)

  def take_speed(self) -> dict[str, Any]:
    """What bound the steps; nothing where there is no input to wait for."""
    return {}

  def in_lanes(self, lanes: Lanes) -> Callable[..., PyTree]:
    """`advance` for as many runs as there are lanes, each on its own device.

    What runs have of their own (carry, order, stop) is as `Lanes.spread` makes
    it, what they share whole on each device.
    """
    alone = copy.copy(self)
    alone.devices = first_devices(1)
    shared = (False, True, True, False, False, False)
    return jax.jit(lanes.map(alone._advance, shared), donate_argnums=0)

  def in_one(self) -> Callable[..., PyTree]:
    """`advance` for several runs in one batched computation."""
    batched = jax.vmap(self._advance, in_axes=(0, None, None, 0, 0, 0))
    return jax.jit(batched, donate_argnums=0)

  def close(self) -> None:
    """Lets go of what a run left open; of a set on the devices that is none."""

  def seen(self, key, order, step, count):
    """Which images the steps from one on see, and which views of them.

    Args:
      key: Of the state.
      order: Of its epoch.
      step: The first.
      count: Steps.

    Returns:
      int32 `[count, B]` of both; what is behind the epoch's end says nothing.
    """
    augment = self.parts.augment
    assert isinstance(augment, Augmentation)
    size = self.batch_size
    start = step % self.steps_per_epoch * size
    order = jnp.pad(order, (0, (count + 1) * size))
    index = jax.lax.dynamic_slice(order, (start,), (count * size,))
    # One by one: of some kinds of keys many draw other numbers at once.
    views = jax.lax.map(
      lambda step: augment.draw(step_keys(key, step)[0], size),
      step + jnp.arange(count),
    )
    return index.reshape(count, size), views

  def _permutation(self, data_key, epoch):
    count = len(self.train_data['label'])
    return self.devices.gather(batch_order(data_key, epoch, count))

  def _advance(
    self, carry, teacher_variables, data, order, stop, looked_up=None
  ):
    """Steps from where `carry` stands up to `stop`, within one epoch.

    What each of these steps needs of the teacher may have been looked up
    (`HostTable.ahead`); otherwise it is found in the step.

    A while loop rather than a scan: its length is then an argument, so that
    one executable serves any number of steps per dispatch, and it ends at the
    step whose loss or gradient is not finite. Nothing is differentiated
    through it.
    """
    self._traces[0] += 1  # runs while tracing, once per executable
    first = carry[0].step // self.steps_per_epoch * self.steps_per_epoch
    whole, rest = divmod(len(data['label']), self.batch_size)
    before = carry[0].step
    carry = (carry[0], restart(carry[1], carry[0].step == first))

    def step(carry, rows):
      batch = jax.tree.map(lambda array: array[rows], data)
      if looked_up is not None:
        done = carry[0].step - before
        batch['teacher'] = jax.tree.map(
          lambda array: array[done, : len(rows)], looked_up
        )
      return self.one_step(carry, teacher_variables, batch)

    def goes_on(carry, until):
      return (carry[0].step < until) & is_finite(carry[1])

    def whole_step(carry):
      start = (carry[0].step - first) * self.batch_size
      return step(
        carry, jax.lax.dynamic_slice(order, (start,), (self.batch_size,))
      )

    carry = jax.lax.while_loop(
      lambda carry: goes_on(carry, jnp.minimum(stop, first + whole)),
      whole_step,
      carry,
    )
    if rest:
      carry = jax.lax.cond(
        goes_on(carry, stop) & (carry[0].step == first + whole),
        lambda carry: step(carry, order[whole * self.batch_size :]),
        lambda carry: carry,
        carry,
      )
    return carry

  def one_step(self, carry, teacher_variables, batch):
    """The carry after one batch, inside jit."""
    state, sums = carry
    batch = self.devices.split(batch)
    state, metrics = train_step(
      state, teacher_variables, batch, parts=self.parts
    )
    count = jnp.float32(len(batch['label']))
    added = {**metrics, 'examples': jnp.float32(1)}
    sums = {name: sums[name] + count * added[name] for name in sums}
    return self.devices.gather((state, sums))

  def exported(self, state: TrainState) -> PyTree:
    """The student as a plain network, on the host; see `Method.export`."""
    parts, local = self.parts, self.devices.local
    return parts.method.export(
      local(state.method_variables),
      local(state.student_variables),
      parts.student.with_classifier,
    )

  def forward_flops(self, state: TrainState) -> float | None:
    """Floating-point operations of one image through the student, by XLA.

    Counted on what is traced, before the compiler changes it; `None` where the
    platform does not count.
    """
    student = self.parts.student
    cost = (
      jax.jit(lambda v, x: student.apply(v, x, train=False)[0].logits)
      .lower(
        jax.tree.map(_abstract, state.student_variables),
        jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32),
      )
      .cost_analysis()
    )
    return cost.get('flops') if isinstance(cost, dict) else None

  def compilations(self) -> int:
    """How many executables of the training step there are by now."""
    return self._traces[0]


def check_batch_size(batch_size: int, train: Sized) -> None:
  """Raises a `ValueError` if a batch has more images than there are."""
  if batch_size > len(train):
    raise ValueError(
      f'The batch of {batch_size} is larger than the training set of '
      f'{len(train)} images; give --batch_size={len(train)} or less.'
    )


def _abstract(array: jax.Array) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(array.shape, array.dtype)


def is_finite(sums: Sums) -> jax.Array:
  """Whether no loss and no gradient has been infinite or NaN."""
  return jnp.isfinite(sums['loss']) & jnp.isfinite(sums['grad_norm'])


def restart(sums: Sums, fresh: jax.Array) -> Sums:
  """The sums, or zeros where an epoch begins."""
  return jax.tree.map(lambda total: jnp.where(fresh, 0, total), sums)
