"""Values of settings are of their declared types, whoever sets them."""

import dataclasses
from typing import Literal

import numpy as np
import pytest

from kdjax.methods import METHODS, create
from kdjax.methods.setting_types import check_types


@dataclasses.dataclass(frozen=True)
class Settings:
  number: float = 1.0
  count: int | None = None
  word: Literal['a', 'b'] = 'a'
  flag: bool = False
  pairs: tuple[tuple[int, float], ...] = ()


@pytest.mark.parametrize('name', METHODS)
def test_every_method_has_settings_of_its_types(name):
  check_types(create(name))


@pytest.mark.parametrize(
  'values',
  [
    {'number': 2},
    {'number': np.float32(2)},
    {'count': np.int64(3)},
    {'count': None},
    {'word': 'b'},
    {'pairs': ((0, 1), (5, 2.5))},
  ],
)
def test_values_of_the_type(values):
  check_types(Settings(**values))


@pytest.mark.parametrize(
  ('values', 'why'),
  [
    ({'number': 'x'}, "number of Settings must be a number, got 'x'"),
    ({'number': True}, 'must be a number, got True'),
    ({'number': None}, 'must be a number, got None'),
    ({'number': float('nan')}, 'must be a finite number, got nan'),
    ({'number': float('-inf')}, 'must be a finite number, got -inf'),
    ({'count': 1.5}, 'must be a whole number or None, got 1.5'),
    ({'count': 2**70}, 'must be a finite number'),
    ({'word': 'c'}, "Unknown word of Settings 'c'"),
    ({'word': 1}, "must be 'a' or 'b', got 1"),
    ({'flag': 1}, 'must be True or False, got 1'),
    ({'pairs': (1, 2)}, 'each entry \\(a whole number, a number\\)'),
    ({'pairs': ((0, 1, 2),)}, 'each entry'),
    ({'pairs': ((0, float('nan')),)}, 'finite'),
  ],
)
def test_other_values_are_named(values, why):
  with pytest.raises(ValueError, match=why):
    check_types(Settings(**values))
