"""Shared by all tests: eight host devices, and real data prepared once."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import pytest

from tests.shared import SHARED

# Tests of sharding need several devices on any machine. XLA_FLAGS is not used,
# because subprocesses would inherit it.
jax.config.update('jax_num_cpu_devices', 8)


@pytest.fixture(scope='session')
def session_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A folder that all workers of this test run share."""
  base = tmp_path_factory.getbasetemp()
  return base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base


@pytest.fixture(scope='session')
def cifar100_data_dir(session_dir: pathlib.Path) -> pathlib.Path:
  """A TFDS folder with the complete CIFAR-100, prepared offline.

  Preparation takes about 20 s once per test run: for slow tests only.
  """
  script = SHARED / 'data' / 'prepare_cifar100.py'
  if not script.exists():
    pytest.skip('there are no shared data next to this checkout')
  data_dir = session_dir / 'tfds_cifar100'
  with _locked(session_dir / 'tfds_cifar100.lock'):
    if not list(data_dir.glob('cifar100/*/dataset_info.json')):
      data_dir.mkdir(exist_ok=True)
      subprocess.run(
        [sys.executable, script, script.parent / 'cifar100', data_dir]
        + ['array_record'],
        check=True,
      )
      shutil.rmtree(data_dir / 'downloads')
  return data_dir


@pytest.fixture
def hasty_compiler():
  """Disables most compiler optimizations in a slow test of formulas."""
  jax.config.update('jax_disable_most_optimizations', True)


def pytest_runtest_setup(item: pytest.Item) -> None:
  """Disables most compiler optimizations in fast tests.

  Compilation takes most of their time. What optimizations can break, such as
  equal bits of different programs, is in tests with the marker `optimized`.
  """
  marked = any(item.get_closest_marker(name) for name in ('slow', 'optimized'))
  jax.config.update('jax_disable_most_optimizations', not marked)


@contextlib.contextmanager
def _locked(path: pathlib.Path):
  """Locks `path` against the other workers of this test run."""
  with path.open('w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
