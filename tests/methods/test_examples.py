"""The examples in docstrings compute what they show."""

import doctest

import pytest

from kdjax.methods import combination, registry, settings


@pytest.mark.parametrize('module', [registry, combination, settings])
def test_examples(module):
  results = doctest.testmod(module)
  assert results.attempted >= 3
  assert results.failed == 0
