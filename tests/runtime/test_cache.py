"""The cache folder that commands share."""

import pathlib

from kdjax.runtime.cache import cache_folder


def test_environment_variable_sets_the_cache_folder(monkeypatch):
  monkeypatch.setenv('KDJAX_CACHE', '/somewhere/else')
  assert cache_folder() == pathlib.Path('/somewhere/else')
  monkeypatch.delenv('KDJAX_CACHE')
  assert cache_folder() == pathlib.Path.home() / '.cache' / 'kdjax'
