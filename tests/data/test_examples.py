"""The examples in the docstrings of `kdjax.data`."""

import doctest
import importlib

import pytest

from kdjax import data

MODULES = {
  'load': data.load,
  'arrays': data.from_arrays,
  'augment': data.Augmentation,
  'limit': data.limit_per_class,
}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('tfds')


@pytest.mark.parametrize('name', MODULES)
def test_doctest_examples_pass(name, data_dir, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(data_dir))
  module = importlib.import_module(f'kdjax.data.{name}')
  assert 'Examples:' in MODULES[name].__doc__
  result = doctest.testmod(module)
  assert result.attempted > 2
  assert not result.failed
