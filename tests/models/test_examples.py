"""The examples in the documentation of networks run and print what they say."""

import doctest

import pytest

from kdjax.models import linen, zoo


@pytest.mark.parametrize('module', [zoo, linen])
def test_examples(module):
  assert doctest.testmod(module, raise_on_error=True).attempted > 0
