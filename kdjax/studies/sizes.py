"""Checks that the sizes of a comparison are possible, before it trains."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.network import Network
from kdjax.runtime.memory import host_memory
from kdjax.runtime.mesh import Devices
from kdjax.typing import PyTree, Variables

_LAST_STEP = 2**31 - 1  # steps are counted in 32 bits
_COPIES = 3  # of what is trained: parameters, gradients and momentum
_GIB = 2**30


def check_steps(steps_per_epoch: int, epochs: int) -> None:
  """Checks that the steps of a run can be counted.

  Args:
    steps_per_epoch: Number of steps.
    epochs: Number of epochs.

  Raises:
    ValueError: If they cannot.
  """
  if steps_per_epoch * epochs > _LAST_STEP:
    raise ValueError(
      f'{epochs} epochs of {steps_per_epoch} steps are more steps than the '
      f'{_LAST_STEP} that can be counted; give fewer --epochs.'
    )


def check_batch(
  devices: Devices, image_shape: tuple[int, int, int], batch_size: int
) -> None:
  """Checks that a batch of images alone fits the memory.

  Args:
    devices: Devices that share the batch.
    image_shape: `(H, W, C)`.
    batch_size: Images per step.

  Raises:
    ValueError: If it does not.
  """
  size = 4 * math.prod(image_shape) * batch_size
  _check(devices, f'A batch of {batch_size} images {image_shape}', batch=size)


def check_memory(
  devices: Devices,
  what: str,
  *,
  student: Network,
  teacher: Network | None,
  method: Variables,
  image_shape: tuple[int, int, int],
  batch_size: int,
) -> None:
  """Checks that what a step certainly holds fits the memory.

  These are the weights, those of student and method with gradients and
  momentum, and the batch with the feature maps that one stage of the student
  passes to the next. A step needs more; what passes may still not fit.

  Args:
    devices: Devices that share each batch.
    what: What needs the memory, for the message.
    student: The network that is trained.
    teacher: The network it learns from, if any.
    method: Shapes of the method's variables.
    image_shape: `(H, W, C)`.
    batch_size: Images per step.

  Raises:
    ValueError: If it does not.
  """
  trained = student.describe(image_shape, batch_size)
  frozen = None
  if teacher is not None:  # as methods describe it, which is remembered
    frozen = teacher.describe(image_shape, batch_size)
  _check(
    devices,
    what,
    trained=_bytes(trained.variables) + _bytes(method['params']),
    state=_bytes(method['state']),
    frozen=0 if frozen is None else _bytes(frozen.variables),
    # Gradients need all of the student's feature maps, none of the teacher's.
    batch=4 * math.prod(image_shape) * batch_size
    + _bytes(getattr(trained.features, 'boundaries', ())),
  )


def _check(
  devices: Devices,
  what: str,
  *,
  batch: int,
  trained: int = 0,
  state: int = 0,
  frozen: int = 0,
) -> None:
  limit, count = devices.memory_bytes(), devices.count
  parts = devices.mesh.shape['fsdp']  # of a frozen network
  if limit is None:  # the devices of a CPU share the memory of the machine
    limit, count, parts = host_memory(), 1, 1
  needed = _COPIES * trained + state + frozen // parts + batch // count
  if limit is not None and needed > limit:
    raise ValueError(
      f'{what} needs at least {needed / _GIB:.1f} GiB of memory, of which '
      f'there are {limit / _GIB:.1f}. Smaller images, batches, networks or '
      'settings of the method need less.'
    )


def _bytes(tree: PyTree) -> int:
  return sum(map(_leaf_bytes, jax.tree.leaves(tree)))


def _leaf_bytes(leaf: Any) -> int:
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    return 0
  return math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
