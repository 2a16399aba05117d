import collections

import jax
import numpy as np
import pytest

from kdjax.methods.fcfd_paths import candidates, draw, named

FOUR = ['0011', '0001', '1100', '1110']
FIVE = ['00111', '00011', '00001', '11000', '11100', '11110']


@pytest.mark.parametrize(('stages', 'want'), [(4, FOUR), (5, FIVE)])
def test_all_paths_in_the_published_order(stages, want):
  assert [path.name for path in candidates(stages, 'bi')] == want


def test_directions_leave_out_the_others():
  assert [path.name for path in candidates(4, 's2t')] == ['1100', '1110']
  assert [path.name for path in candidates(4, 't2s')] == ['0011', '0001']
  assert candidates(4, 'nomix') == ()
  assert candidates(2, 'bi') == ()


def test_a_name_that_is_no_path_is_named_with_those_that_are():
  known = candidates(4, 'bi')
  assert named(['1110', '0011'], known) == (known[3], known[0])
  with pytest.raises(ValueError, match=r"no path '1000'.*0011, 0001, 1100"):
    named(['1000'], known)


@pytest.mark.parametrize('stages', [4, 5])
def test_every_pair_of_different_paths_is_drawn_equally_often(stages):
  paths = candidates(stages, 'bi')
  keys = jax.random.split(jax.random.key(0), 3000)

  @jax.jit
  @jax.vmap
  def drawn(key):
    return list(draw(key, paths, 2).values())

  taken = np.stack(drawn(keys), axis=1)
  np.testing.assert_array_equal(taken.sum(1), 2)
  pairs = collections.Counter(map(tuple, taken.tolist()))
  expected = len(keys) / (len(paths) * (len(paths) - 1) / 2)
  assert len(pairs) == len(paths) * (len(paths) - 1) // 2
  # Five standard deviations of a binomial count.
  assert max(abs(n - expected) for n in pairs.values()) < 5 * expected**0.5
  # Hence each path in half of the steps of four stages, a third of five.
  np.testing.assert_allclose(taken.mean(0), 2 / len(paths), atol=0.05)


def test_with_all_of_them_taken_nothing_is_drawn():
  paths = candidates(4, 'bi')
  assert draw(jax.random.key(0), paths, 4) == dict.fromkeys(paths, True)
