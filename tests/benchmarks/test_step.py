"""Training of a tiny pair, as benchmarks time it."""

import jax.numpy as jnp
import pytest

from benchmarks import together
from benchmarks._program import check_step, first_epoch
from benchmarks._step import Pair
from kdjax.train.teacher_outputs import compute_table
from kdjax.train.teacher_table import with_table


@pytest.fixture(scope='module')
def pair():
  return Pair('convnet_8_16', 'convnet_4_8', 'kd', 16, steps_per_epoch=2)


@pytest.mark.slow
def test_single_steps_and_loop_advance_the_state(pair):
  pair.alone(2)
  pair.loop(1)
  pair.loop(4)  # into the third epoch
  assert int(pair._single.state.step) == 2
  assert int(pair._carry.state.step) == 5
  assert int(pair.state.step) == 0


def test_statistics_of_the_loop(pair):
  statistics = pair.compile()
  parameters = 4 * sum(
    leaf.size
    for leaf in pair.state.params['student'].values()
    if hasattr(leaf, 'size')
  )
  assert statistics.peak_bytes > parameters
  assert statistics.seconds > 0
  assert pair.operations() > 0


def test_the_first_epoch_can_be_repeated(pair):
  epoch = first_epoch(pair.epochs, pair.state, pair.frozen)
  epoch()
  epoch()  # the first call has donated its own copy
  assert pair.epochs.compilations() >= 1


@pytest.mark.slow
def test_epoch_with_a_teacher_table_runs():
  pair = Pair(
    'convnet_8_16', 'convnet_4_8', 'kd', 16, steps_per_epoch=1, crop_padding=0
  )
  table = compute_table(pair.epochs, pair.frozen.teacher, lambda: None)
  frozen = pair.frozen.replace(table=table)
  first_epoch(with_table(pair.epochs), pair.state, frozen)()


def test_diverged_run_raises_an_error(pair):
  carry = pair.epochs.first_carry(pair.state, pair.frozen)
  check_step(carry, 0)
  with pytest.raises(ValueError, match='step 0 of 3'):
    check_step(carry, 3)


def test_runs_on_one_device_are_sequential():
  counts = [0, 0]

  def count(index):
    def epoch():
      jnp.zeros(())  # on the device of the thread
      counts[index] += 1

    return epoch

  together._at_the_same_time([count(0), count(1)], 5)
  assert counts == [3, 2]


def test_exception_of_a_thread_is_raised():
  def fail():
    raise ValueError('not finite')

  with pytest.raises(ValueError, match='not finite'):
    together._at_the_same_time([fail, lambda: None], 2)
