import collections

import jax
import numpy as np
import pytest

from kdjax.methods.fcfd_paths import candidates, draw, named

FOUR = ['0011', '0001', '1100', '1110']
FIVE = ['00111', '00011', '00001', '11000', '11100', '11110']


@pytest.mark.parametrize(('stages', 'want'), [(4, FOUR), (5, FIVE)])
def test_paths_are_in_the_published_order(stages, want):
  assert [path.name for path in candidates(stages, 'bi')] == want


def test_directions_restrict_the_paths():
  assert [path.name for path in candidates(4, 's2t')] == ['1100', '1110']
  assert [path.name for path in candidates(4, 't2s')] == ['0011', '0001']
  assert candidates(4, 'nomix') == ()
  assert candidates(2, 'bi') == ()


def test_unknown_path_raises_an_error_with_the_known_ones():
  known = candidates(4, 'bi')
  assert named(['1110', '0011'], known) == (known[3], known[0])
  with pytest.raises(ValueError, match=r"no path '1000'.*0011, 0001, 1100"):
    named(['1000'], known)


@pytest.mark.parametrize('stages', [4, 5])
def test_pairs_of_paths_are_uniformly_distributed(stages):
  paths = candidates(stages, 'bi')
  keys = jax.random.split(jax.random.key(0), 3000)

  @jax.jit
  @jax.vmap
  def drawn(key):
    return list(draw(key, paths, 2).values())

  chosen = np.stack(drawn(keys), axis=1)
  np.testing.assert_array_equal(chosen.sum(1), 2)
  pairs = collections.Counter(map(tuple, chosen.tolist()))
  expected = len(keys) / (len(paths) * (len(paths) - 1) / 2)
  assert len(pairs) == len(paths) * (len(paths) - 1) // 2
  # Five standard deviations of a binomial count.
  assert max(abs(n - expected) for n in pairs.values()) < 5 * expected**0.5
  # Hence each path in half of the steps of four stages, a third of five.
  np.testing.assert_allclose(chosen.mean(0), 2 / len(paths), atol=0.05)


def test_all_paths_are_chosen_without_randomness():
  paths = candidates(4, 'bi')
  assert draw(jax.random.key(0), paths, 4) == dict.fromkeys(paths, True)
