"""Fixtures of commands: caches, failures and a small dataset."""

import jax
import pytest

from tests.experiments import commands


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  """Keeps teachers that tests train out of the user's cache."""
  monkeypatch.setenv('KDJAX_CACHE', str(tmp_path / 'cache'))


@pytest.fixture(scope='module')
def compiled_once(tmp_path_factory):
  """Lets the commands of one module share compiled programs."""
  names = {
    'jax_compilation_cache_dir': str(tmp_path_factory.mktemp('compiled')),
    'jax_persistent_cache_min_compile_time_secs': 0.1,
  }
  before = {name: getattr(jax.config, name) for name in names}
  for name, value in names.items():
    jax.config.update(name, value)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


@pytest.fixture
def fails(capsys):
  """Runs `experiments.cifar`, which must fail; returns status and message."""

  def run(*flags):
    try:
      status = commands.cifar(*flags)
    except SystemExit as stop:  # raised by the parser
      status = stop.code
    said = capsys.readouterr().err
    assert 'Traceback' not in said
    messages = said[said.rindex('error: ') :] if 'error: ' in said else said
    return status, messages

  return run


@pytest.fixture
def toy(tmp_path):
  """The `--dataset` flag of a small dataset."""
  return f'--dataset={commands.write_npz(tmp_path / "data")}'
