"""The examples in the docstrings of `kdjax.methods`."""

import doctest

import pytest

from kdjax.methods import combination, registry, settings


@pytest.mark.parametrize('module', [registry, combination, settings])
def test_doctest_examples_pass(module):
  results = doctest.testmod(module)
  assert results.attempted >= 3
  assert results.failed == 0
