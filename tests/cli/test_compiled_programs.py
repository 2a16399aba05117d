"""Compiled programs that were damaged are written again."""

import warnings

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import compilation_cache

from kdjax.cli.compilation import Compilation

_SETTINGS = (
  'jax_compilation_cache_dir',
  'jax_persistent_cache_min_compile_time_secs',
)


@pytest.fixture
def programs(tmp_path, monkeypatch):
  """A folder of compiled programs for the programs of one test."""
  before = {name: getattr(jax.config, name) for name in _SETTINGS}
  reset = compilation_cache.compilation_cache.reset_cache
  monkeypatch.setenv('KDJAX_CACHE', str(tmp_path))
  reset()
  jax.config.update('jax_compilation_cache_dir', None)
  with warnings.catch_warnings():
    Compilation().start()
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    yield tmp_path / 'programs'
  for name, value in before.items():
    jax.config.update(name, value)
  reset()


@pytest.mark.parametrize('damage', [lambda b: b[:50], lambda b: b'', None])
def test_a_damaged_program_is_compiled_and_written_again(programs, damage):
  def run():
    jax.clear_caches()

    @jax.jit
    def of_this_test(x):
      return jnp.sin(x) * 3

    return float(of_this_test(2.0))

  wanted = run()
  (path,) = programs.glob('jit_of_this_test-*-cache')
  whole = path.read_bytes()
  other = programs / 'jit_of_another-0-cache'
  other.write_bytes(b'')
  if damage is not None:
    path.write_bytes(damage(whole))
  assert run() == wanted
  (path,) = programs.glob('jit_of_this_test-*-cache')
  assert len(path.read_bytes()) > 100
  assert other.exists()
  jax.clear_caches()
  assert run() == wanted
