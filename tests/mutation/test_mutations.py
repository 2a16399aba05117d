"""The list of mutations fits the source, and the runner tells them apart."""

import pathlib
import re

import pytest

from tests.mutation.catalog import ROOT, Mutation
from tests.mutation.mutations import MUTATIONS
from tests.mutation.runner import Copy


def test_there_are_enough_with_names_of_their_own():
  names = [mutation.name for mutation in MUTATIONS]
  assert len(names) == len(set(names)) >= 100


@pytest.mark.parametrize('file', sorted({m.file for m in MUTATIONS}))
def test_every_old_text_is_found_once(file):
  text = (ROOT / file).read_text()
  for mutation in MUTATIONS:
    if mutation.file == file:
      assert mutation.apply(text) != text


def test_every_named_test_exists():
  for node in {test for mutation in MUTATIONS for test in mutation.tests}:
    file, *names = node.split('::')
    text = (ROOT / file).read_text()
    for name in names:
      name = name.partition('[')[0]
      assert re.search(rf'\b(def|class) {name}\b', text), node


def test_an_old_text_that_is_gone_is_an_error():
  mutation = Mutation('gone', 'kdjax/typing.py', 'x = 1', 'x = 2', ())
  for text, count in (('x = 3', 0), ('x = 1\nx = 1', 2)):
    with pytest.raises(ValueError, match=f'gone: .* contains it {count} times'):
      mutation.apply(text)


class _Folder(Copy):
  """A copy of one small file and its tests."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    (folder / 'numbers_.py').write_text('def double(x):\n  return 2 * x\n')
    (folder / 'test_numbers.py').write_text(_TESTS)
    (folder / 'pytest.ini').write_text('[pytest]\nmarkers = slow\n long\n')


_TESTS = """
import pytest
import numbers_

def test_zero():
  assert numbers_.double(0) == 0

@pytest.mark.slow
def test_one():
  assert numbers_.double(1) == 2
"""


@pytest.mark.slow
@pytest.mark.parametrize(
  ('new', 'killed_by', 'test'),
  [
    ('2 + x', 'fast', 'test_numbers.py::test_zero'),
    ('3 * x', 'slow', 'test_numbers.py::test_one'),
    ('x * 2', None, ''),
  ],
)
def test_a_mutation_is_killed_by_fast_or_slow_tests_or_survives(
  tmp_path, new, killed_by, test
):
  copy = _Folder(tmp_path)
  text = (tmp_path / 'numbers_.py').read_text()
  copy.check(['test_numbers.py'])
  fault = Mutation('f', 'numbers_.py', '2 * x', new, ('test_numbers.py',))
  outcome = copy.run(fault)
  assert (outcome.killed_by, outcome.test) == (killed_by, test)
  assert (tmp_path / 'numbers_.py').read_text() == text


@pytest.mark.slow
def test_tests_that_fail_anyway_or_are_not_there_are_errors(tmp_path):
  copy = _Folder(tmp_path)
  fault = Mutation('f', 'numbers_.py', '2 * x', 'x', ('test_numbers.py::nine',))
  with pytest.raises(ValueError, match='mutation f: pytest ends with 4'):
    copy.run(fault)
  (tmp_path / 'numbers_.py').write_text('def double(x):\n  return x\n')
  with pytest.raises(ValueError, match='Without a mutation the tests fail'):
    copy.check(['test_numbers.py'])
