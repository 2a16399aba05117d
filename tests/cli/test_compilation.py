import jax
import pytest

from kdjax.cli.compilation import Compilation
from tests.experiments import commands

_SETTINGS = (
  'jax_enable_compilation_cache',
  'jax_compilation_cache_dir',
  'jax_persistent_cache_min_compile_time_secs',
)


def _set_to(name):
  return getattr(jax.config, name)


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """The user's cache folder; restores the JAX settings afterwards."""
  before = {name: _set_to(name) for name in _SETTINGS}
  monkeypatch.setenv('KDJAX_CACHE', str(tmp_path))
  yield tmp_path
  for name, value in before.items():
    jax.config.update(name, value)


def test_programs_are_cached_in_the_user_cache_folder(cache):
  jax.config.update('jax_compilation_cache_dir', None)
  Compilation().start()
  assert _set_to('jax_compilation_cache_dir') == str(cache / 'programs')


def test_configured_cache_folder_is_kept(cache):
  chosen = str(cache / 'chosen')
  jax.config.update('jax_compilation_cache_dir', chosen)
  Compilation().start()
  assert _set_to('jax_compilation_cache_dir') == chosen


@pytest.mark.usefixtures('cache')
def test_compilation_cache_can_be_disabled():
  Compilation(no_compile_cache=True).start()
  assert _set_to('jax_enable_compilation_cache') is False


@pytest.mark.slow
@pytest.mark.long
def test_second_start_reuses_compiled_programs(tmp_path):
  def loops():
    return {
      path.name for path in (tmp_path / 'programs').glob('jit__advance-*-cache')
    }

  def start(*flags):
    commands.run(
      'digits',
      '--epochs=1',
      f'--workdir={tmp_path / "".join(["w", *flags])}',
      *flags,
      cache=tmp_path,
      environment={
        'KDJAX_CACHE': str(tmp_path),
        'JAX_COMPILATION_CACHE_DIR': '',
      },
    )
    return loops()

  first = start('--seeds=0')
  assert first
  assert start('--seeds=1') == first
