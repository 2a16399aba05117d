"""CPU cores as JAX devices; to be set before JAX initializes its devices."""

import os

import jax

from kdjax.messages import first_line

_IMAGES_PER_CORE = 16  # fewer images are not worth a core
_MOST_DEVICES = 512  # each has threads and a copy of the weights
_FLAG = 'xla_force_host_platform_device_count'


def cores_for(batch_size: int, cores: int) -> int:
  """Returns the number of cores that share a batch evenly and efficiently.

  Args:
    batch_size: Images of a step.
    cores: Available cores.

  Returns:
    The largest divisor of `batch_size` that is at most `cores` and leaves at
    least 16 images to each core; 1 if there is none.
  """
  largest = max(1, min(cores, batch_size // _IMAGES_PER_CORE))
  return max(n for n in range(1, largest + 1) if batch_size % n == 0)


def share_cores(batch_size: int) -> None:
  """Turns the cores of a CPU into devices, as many as share a batch.

  XLA computes most convolutions of small networks, those of 32 and 64 channels,
  on one core, however many there are (docs/benchmarks.md). Where each core is a
  device with its part of the batch, all of them work. Sums are then rounded in
  another order, as on any other number of devices.

  Has no effect on accelerators, nor if JAX's `jax_num_cpu_devices` or the
  equivalent flag of XLA is set already.

  Args:
    batch_size: Images of a step.
  """
  configured = jax.config.jax_num_cpu_devices >= 0  # pyright: ignore
  if not configured and _FLAG not in os.environ.get('XLA_FLAGS', ''):
    use_cores(cores_for(batch_size, _available_cores()))


def use_cores(count: int) -> None:
  """Turns the CPU into a given number of devices.

  Args:
    count: Number of devices.

  Raises:
    ValueError: If the number is not positive, or more than XLA can serve, or
      if JAX has started.
  """
  if count < 1:
    raise ValueError(f'cpu_devices must be positive, got {count}.')
  if count > _MOST_DEVICES:
    raise ValueError(
      f'cpu_devices must be at most {_MOST_DEVICES}, got {count}; this machine '
      f'has {_available_cores()} cores.'
    )
  try:
    jax.config.update('jax_num_cpu_devices', count)
  except RuntimeError as error:
    raise ValueError(
      f'cpu_devices={count} must be set before JAX starts: {first_line(error)}'
    ) from error


def _available_cores() -> int:
  """Returns the number of cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
