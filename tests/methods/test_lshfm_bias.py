import tracemalloc

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from kdjax.methods.lshfm_bias import classifier_std, fit_bias


def _draw(seed, count, hashes=7, width=4):
  rng = np.random.default_rng(seed)
  features = rng.normal(size=(count, width)).astype(np.float32)
  return rng.normal(size=(width, hashes)).astype(np.float32), features


def _walk(features, batch):
  return lambda: (
    features[start : start + batch] for start in range(0, len(features), batch)
  )


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(
  seed=st.integers(0, 2**16),
  count=st.integers(1, 40),
  batch=st.integers(1, 12),
  memory=st.sampled_from([2**9, 2**11, 2**30]),
)
def test_lower_median_is_exact_for_any_memory_limit(seed, count, batch, memory):
  kernel, features = _draw(seed, count)
  got = fit_bias(kernel, _walk(features, batch), 'median', memory=memory)
  hashes = features.astype(np.float64) @ kernel
  want = -np.sort(hashes, axis=0)[(count - 1) // 2]
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
  assert got.dtype == np.float32
  clear = np.abs(hashes + want) > 1e-6
  # Half of the features have bit 1, except the one on the plane.
  ones = np.sum((hashes + want > 0) & clear, axis=0)
  np.testing.assert_array_equal(ones, np.full(len(ones), count // 2))


def test_mean_bias_is_the_negative_mean_hash():
  kernel, features = _draw(0, 30)
  got = fit_bias(kernel, _walk(features, 7), 'mean')
  np.testing.assert_allclose(got, -(features @ kernel).mean(0), atol=1e-6)


def test_zero_bias_reads_no_features():
  kernel, _ = _draw(0, 1)
  np.testing.assert_array_equal(fit_bias(kernel, None, 'zero'), np.zeros(7))


@pytest.mark.parametrize('kind', ['mean', 'median'])
def test_unseen_features_count_as_zeros(kind):
  kernel, features = _draw(0, 20)
  padded = np.concatenate([features, np.zeros((5, 4), np.float32)])
  got = fit_bias(kernel, _walk(features, 7), kind, unseen=5)
  want = fit_bias(kernel, _walk(padded, 7), kind)
  np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize('memory', [2**20, 2**22])
def test_memory_limit_is_respected(memory):
  # 16 MB of hashes; with 1 MB the features are read again for each chunk.
  kernel, features = _draw(0, 8000, hashes=512, width=32)
  tracemalloc.start()
  fit_bias(kernel, _walk(features, 250), 'median', memory=memory)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 1.05 * memory


def test_float64_and_bfloat16_features_are_accepted():
  kernel, features = _draw(0, 9)
  exact = fit_bias(
    kernel.astype(np.float64), _walk(features.astype(np.float64), 4), 'median'
  )
  assert exact.dtype == np.float64
  rough = fit_bias(
    kernel, _walk(jnp.asarray(features, jnp.bfloat16), 4), 'mean'
  )
  assert rough.dtype == np.float32
  np.testing.assert_allclose(rough, -(features @ kernel).mean(0), atol=0.02)


def test_planes_pass_through_equal_features():
  kernel, _ = _draw(0, 1)
  features = np.ones((6, 4), np.float32)
  for kind in ('mean', 'median'):
    got = fit_bias(kernel, _walk(features, 4), kind)
    np.testing.assert_allclose(got, -kernel.sum(0), rtol=1e-5)


@pytest.mark.parametrize('kind', ['mean', 'median'])
def test_no_features_raise_an_error(kind):
  with pytest.raises(ValueError, match='no features at all'):
    fit_bias(_draw(0, 1)[0], lambda: iter(()), kind)


def test_memory_limit_below_one_hash_raises_an_error():
  kernel, features = _draw(0, 40)
  with pytest.raises(ValueError, match='median of 40 hashes needs at least'):
    fit_bias(kernel, _walk(features, 7), 'median', memory=300)


def test_standard_deviation_is_unbiased():
  assert classifier_std(np.array([[1.0, 2.0], [3.0, 4.0]])) == pytest.approx(
    np.sqrt(5 / 3)
  )


@pytest.mark.parametrize('kernel', [np.ones((3, 4)), np.ones((1, 1))])
@pytest.mark.filterwarnings('ignore:.*egrees of freedom:RuntimeWarning')
@pytest.mark.filterwarnings('ignore:invalid value:RuntimeWarning')
def test_classifier_without_standard_deviation_raises_an_error(kernel):
  with pytest.raises(ValueError, match=r'Give --method\.spread'):
    classifier_std(kernel)
