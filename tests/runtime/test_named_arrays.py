"""Differences between stored and expected arrays."""

import numpy as np

from kdjax.messages import first_line, printable
from kdjax.runtime.named_arrays import compare, leaves_by_name, shapes


def test_each_kind_of_difference_is_listed():
  differences = compare(
    {'a': (1,), 'b': (2, 3), 'd\n': ()}, {'a': (1,), 'b': (2,), 'c': (4,)}
  )
  assert differences
  assert str(differences).splitlines() == [
    '  missing     c (4,)',
    "  unexpected  'd\\n' ()",
    '  shape       b: stored (2, 3), expected (2,)',
  ]
  rest = differences.without({'c', 'd\n'})
  assert (rest.missing, rest.unexpected) == ({}, {})
  assert rest.shapes == {'b': ((2, 3), (2,))}
  assert not rest.without({'b'})


def test_only_the_first_dozen_of_a_kind_are_listed():
  lines = str(compare({}, {f'x{i:02}': () for i in range(20)})).splitlines()
  assert len(lines) == 13
  assert lines[-2:] == ['  missing     x11 ()', '  missing     and 8 more']


def test_leaves_are_named_by_their_paths():
  tree = {'params': {'head': {'kernel': np.zeros((2, 3))}}, 'count': 7}
  assert leaves_by_name(tree)['count'] == 7
  named = leaves_by_name(tree['params'], '.')
  assert shapes(named) == {'head.kernel': (2, 3)}


def test_the_first_line_of_an_error_is_short():
  assert first_line(ValueError('one\ntwo')) == 'one'
  assert first_line(ValueError()) == 'ValueError'
  assert len(first_line(ValueError('x' * 300))) == 200
  assert len(first_line(ValueError('x' * 300), longest=None)) == 300


def test_names_from_files_cannot_control_the_terminal():
  assert printable('layer1.0') == 'layer1.0'
  assert printable('\x1b[2J') == r"'\x1b[2J'"
  assert len(printable('x' * 1000)) == 101
