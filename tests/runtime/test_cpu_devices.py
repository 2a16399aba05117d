import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdjax.runtime.cpu_devices import cores_for, use_cores

SHARED = (
  'from kdjax.runtime.cpu_devices import share_cores; share_cores({batch}); '
  'import jax; print(jax.device_count())'
)


@given(batch=st.integers(1, 5000), cores=st.integers(1, 300))
def test_cores_split_a_batch_evenly_with_at_least_16_images_each(batch, cores):
  count = cores_for(batch, cores)
  assert 1 <= count <= cores
  assert batch % count == 0
  assert count == 1 or batch // count >= 16
  more = range(count + 1, cores + 1)
  assert not [n for n in more if batch % n == 0 and batch // n >= 16]


@pytest.mark.parametrize(
  ('batch', 'cores', 'count'),
  [(64, 1, 1), (64, 2, 2), (64, 3, 2), (64, 6, 4), (64, 96, 4), (25, 8, 1)],
)
def test_number_of_cores_of_a_batch(batch, cores, count):
  assert cores_for(batch, cores) == count


def _count(batch: int, **environment: str) -> int:
  """Returns JAX's device count in a process that shares its cores."""
  inherited = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  done = subprocess.run(
    [sys.executable, '-c', SHARED.format(batch=batch)],
    env={**inherited, 'JAX_PLATFORMS': 'cpu', **environment},
    capture_output=True,
    text=True,
    check=True,
  )
  return int(done.stdout)


@pytest.mark.slow
def test_each_core_is_a_device_unless_configured_otherwise():
  batch = 16 * 5 * 7 * 8
  assert _count(batch) == cores_for(batch, len(os.sched_getaffinity(0)))
  flag = '--xla_force_host_platform_device_count=5'
  assert _count(batch, XLA_FLAGS=flag) == 5
  assert _count(batch, JAX_NUM_CPU_DEVICES='7') == 7


def test_zero_devices_are_rejected():
  with pytest.raises(ValueError, match='cpu_devices must be positive, got 0'):
    use_cores(0)
