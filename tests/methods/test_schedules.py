import jax
import numpy as np
import pytest

from kdjax.methods.schedules import check_weight, scaled, value_at, warm_up


def test_number_is_a_constant_schedule():
  np.testing.assert_array_equal(
    [value_at(2.5, epoch) for epoch in (0, 7, 1000)], [2.5] * 3
  )


def test_steps_apply_from_their_epoch():
  steps = ((0, 1.0), (30, 2.0), (50, 5.0))
  got = [float(value_at(steps, epoch)) for epoch in (0, 29, 30, 49, 50, 99)]
  assert got == [1, 1, 2, 2, 5, 5]
  assert float(value_at(((10, 3.0),), 9)) == 0
  assert float(jax.jit(lambda e: value_at(steps, e))(np.float32(31))) == 2


def test_scaling_multiplies_every_value():
  assert scaled(2.0, 3.0) == 6.0
  assert scaled(((0, 1.0), (30, 2.0)), 3.0) == ((0, 3.0), (30, 6.0))


@pytest.mark.parametrize(('length', 'want'), [(20, 0.25), (5, 1.0), (0, 1.0)])
def test_warm_up_includes_the_current_epoch(length, want):
  assert float(warm_up(length)(4)) == pytest.approx(want)


@pytest.mark.parametrize(
  ('weight', 'message'),
  [
    (-1.0, r'kd_weight of Fcfd must be zero or more, got -1\.0'),
    (float('nan'), 'must be zero or more, got nan'),
    (((0, 1.0), (3, -2.0)), 'must be zero or more'),
    (((5, 1.0), (3, 2.0)), 'must be at least one and rise'),
    ((), 'must be at least one and rise'),
  ],
)
def test_invalid_weights_raise_an_error(weight, message):
  with pytest.raises(ValueError, match=message):
    check_weight('Fcfd', 'kd_weight', weight)
