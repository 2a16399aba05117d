"""What importing costs, and what it leaves alone."""

import os
import statistics
import subprocess
import sys

import pytest

import kdjax


def _seconds(code: str) -> float:
  """The median of three fresh processes, as they measure it themselves."""
  program = (
    f'import time; t = time.monotonic(); {code}; print(time.monotonic() - t)'
  )
  return statistics.median(
    float(subprocess.check_output([sys.executable, '-c', program]))
    for _ in range(3)
  )


@pytest.mark.slow
def test_import_is_at_most_two_seconds_above_its_parts():
  parts = _seconds('import jax, flax, optax')
  assert _seconds('import jax, flax, optax, kdjax') <= parts + 2


@pytest.mark.slow
def test_the_methods_and_the_loop_are_at_most_two_seconds_above_as_well():
  parts = _seconds('import jax, flax, optax')
  rooms = 'kdjax.losses, kdjax.methods, kdjax.models, kdjax.train'
  assert _seconds(f'import jax, flax, optax, {rooms}') <= parts + 2


@pytest.mark.slow
def test_importing_starts_no_device_and_no_tensorflow():
  code = (
    'import sys, kdjax.train, kdjax.data, experiments.digits\n'
    'from jax._src import xla_bridge\n'
    'assert not xla_bridge._backends, xla_bridge._backends\n'
    'found = {"tensorflow", "torch", "matplotlib.pyplot"} & set(sys.modules)\n'
    'assert not found, found\n'
  )
  subprocess.run(
    [sys.executable, '-c', code],
    check=True,
    env={**os.environ, 'PYTHONPATH': os.getcwd()},
  )


def test_the_rooms_are_listed_and_other_names_are_refused():
  assert set(kdjax.__all__) <= set(dir(kdjax))
  with pytest.raises(AttributeError, match="no attribute 'attic'"):
    _ = kdjax.attic
