"""Duration and side effects of imports."""

import os
import statistics
import subprocess
import sys

import pytest

import kdjax


def _seconds(code: str) -> float:
  """Returns the median duration in three new processes."""
  program = (
    f'import time; t = time.monotonic(); {code}; print(time.monotonic() - t)'
  )
  return statistics.median(
    float(subprocess.check_output([sys.executable, '-c', program]))
    for _ in range(3)
  )


@pytest.mark.slow
def test_import_takes_at_most_two_seconds_beyond_jax_and_flax():
  parts = _seconds('import jax, flax, optax')
  assert _seconds('import jax, flax, optax, kdjax') <= parts + 2


@pytest.mark.slow
def test_training_imports_take_at_most_two_seconds_beyond_jax():
  parts = _seconds('import jax, flax, optax')
  packages = 'kdjax.losses, kdjax.methods, kdjax.models, kdjax.train'
  assert _seconds(f'import jax, flax, optax, {packages}') <= parts + 2


@pytest.mark.slow
def test_import_initializes_neither_devices_nor_tensorflow():
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


def test_packages_are_listed_and_other_names_raise_an_error():
  assert set(kdjax.__all__) <= set(dir(kdjax))
  with pytest.raises(AttributeError, match="no attribute 'attic'"):
    _ = kdjax.attic
