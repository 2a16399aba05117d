"""Docstrings of the losses: examples and documented arguments."""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

from kdjax import losses

_WITH_EXAMPLES = (
  'cross_entropy',
  'gaussian_kl',
  'gaussian_wasserstein2',
  'icd',
  'lsh',
  'mean_squared_error',
  'mmd_rbf',
  'per_class',
  'sigmoid_cross_entropy',
  'sinkhorn_divergence',
  'soft_target_kl',
  'ssim',
  'wasserstein2',
)
_SLOW = {'kdjax.losses.transport.sinkhorn'}  # importing ott takes seconds
_MODULES = [
  module.name
  for module in pkgutil.walk_packages(losses.__path__, 'kdjax.losses.')
]


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=pytest.mark.slow if name in _SLOW else ())
    for name in _MODULES
  ],
)
def test_doctest_examples_pass(name):
  result = doctest.testmod(importlib.import_module(name))
  assert result.failed == 0


@pytest.mark.parametrize('name', _WITH_EXAMPLES)
def test_common_losses_have_examples(name):
  function = getattr(losses, name)
  assert '\n    >>> ' in function.__doc__
  assert function.__module__ in _MODULES  # tested above


@pytest.mark.parametrize('name', losses.__all__)
def test_public_functions_document_arguments_and_result(name):
  function = getattr(losses, name)
  # Tables have no docstring and classes list attributes.
  if not callable(function) or inspect.isclass(function):
    return
  text = inspect.getdoc(function)
  assert '\nArgs:\n' in text
  assert '\nReturns:\n' in text
  for parameter in inspect.signature(function).parameters:
    assert re.search(rf'\n  \**{parameter}: ', text), parameter
