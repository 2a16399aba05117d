"""The examples in the documentation of weights run and print what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize('name', ['files', 'load', 'save'])
def test_examples(name):
  # The face of the package has a function `load` of the module's name.
  module = importlib.import_module(f'kdjax.convert.{name}')
  assert doctest.testmod(module, raise_on_error=True).attempted > 0
