"""The examples in the docstrings of `kdjax.models`."""

import doctest

import pytest

from kdjax.models import linen, zoo


@pytest.mark.parametrize('module', [zoo, linen])
def test_doctest_examples_pass(module):
  assert doctest.testmod(module, raise_on_error=True).attempted > 0
