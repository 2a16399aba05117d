"""A temporary cache folder, so that tests do not use the user's."""

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('KDJAX_CACHE', str(tmp_path / 'cache'))
