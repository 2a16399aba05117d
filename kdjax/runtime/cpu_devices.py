"""A CPU's cores as devices: before JAX looks for any."""

import os

import jax

_ENOUGH = 16  # images of a batch that are worth a core of their own
_FLAG = 'xla_force_host_platform_device_count'


def cores_for(batch_size: int, cores: int) -> int:
  """How many cores share a batch evenly, each with work that is worth it.

  Args:
    batch_size: Images of a step.
    cores: How many there are.

  Returns:
    The largest divisor of `batch_size` that is at most `cores` and leaves each
    at least 16 images; 1 if there is none.
  """
  most = max(1, min(cores, batch_size // _ENOUGH))
  return max(n for n in range(1, most + 1) if batch_size % n == 0)


def share_cores(batch_size: int) -> None:
  """Makes the cores of a CPU as many devices as share a batch.

  XLA computes most convolutions of small networks on one core, whatever the
  number of them: those of 32 and 64 channels (docs/benchmarks.md). Where each
  core is a device that has its part of the batch, all of them work. Sums are
  rounded in another order then, as on any other number of devices.

  Says nothing to accelerators. Whoever has set JAX's `jax_num_cpu_devices`, or
  the flag of XLA that does the same, is obeyed.

  Args:
    batch_size: Images of a step.
  """
  chosen = jax.config.jax_num_cpu_devices >= 0  # pyright: ignore
  if not chosen and _FLAG not in os.environ.get('XLA_FLAGS', ''):
    use_cores(cores_for(batch_size, _usable()))


def use_cores(count: int) -> None:
  """Makes the cores of a CPU so many devices.

  Raises:
    ValueError: If there is no such number of devices.
  """
  if count < 1:
    raise ValueError(f'cpu_devices must be positive, got {count}.')
  jax.config.update('jax_num_cpu_devices', count)


def _usable() -> int:
  """Cores that this process may use, as far as the system says."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
