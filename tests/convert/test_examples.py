"""The examples in the docstrings of `kdjax.convert`."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize('name', ['files', 'load', 'save'])
def test_doctest_examples_pass(name):
  # The package exports a function `load`, which hides the module.
  module = importlib.import_module(f'kdjax.convert.{name}')
  assert doctest.testmod(module, raise_on_error=True).attempted > 0
