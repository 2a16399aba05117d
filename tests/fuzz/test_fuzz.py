"""A short form of `python -m tests.fuzz`."""

import pytest

from tests.fuzz.case import Case
from tests.fuzz.generators import generate
from tests.fuzz.runner import judge, run_all


@pytest.mark.slow
def test_no_generated_input_is_taken_or_ends_in_a_traceback():
  cases = [case for _, case in generate(seed=1, count=90)]
  faults = {case.name: fault for case, fault in run_all(cases) if fault}
  assert not faults


@pytest.mark.parametrize(
  ('end', 'why'),
  [
    ((0, '', ''), 'exit status 0'),
    ((2, 'error: a\n  b\n', ''), ''),
    ((2, 'error: a\nb\nc\n', ''), 'more than a line'),
    ((2, 'Loading\n', ''), 'no error'),
    ((1, 'error: a\nTraceback', ''), 'a traceback'),
    ((None, '', 'Traceback\nKeyError: 3'), 'raised KeyError'),
  ],
)
def test_the_end_of_a_command_is_judged(end, why):
  fault = judge(Case('x', 'y', ()), *end)
  assert why in fault
  assert bool(fault) == bool(why)


@pytest.mark.slow
def test_inputs_are_the_same_for_the_same_seed():
  one, other = (
    [(name, case.name, case.argv) for name, case in generate(5, 30)]
    for _ in range(2)
  )
  assert one == other
