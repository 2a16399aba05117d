import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.methods import Icd
from kdjax.methods.linear import apply_linear
from tests.methods import support


def _variables(method):
  return method.init(jax.random.key(4), support.spec(5), support.spec(7))


def test_starts_with_projections_of_both_widths_and_a_scale_of_e():
  params = _variables(Icd(width=3))['params']
  assert params['student']['kernel'].shape == (5, 3)
  assert params['teacher']['kernel'].shape == (7, 3)
  assert float(params['log_scale']) == 1.0
  assert float(params['bias']) == 0.0


def test_the_mean_loss_of_the_projected_embeddings():
  method = Icd(weight=2.0, invariance_weight=0.25, width=3)
  variables = _variables(method)
  params = variables['params']
  want = losses.icd(
    apply_linear(params['student'], support.features(5, 1).embedding),
    apply_linear(params['teacher'], support.features(7, 2).embedding),
    scale=jnp.e,
    bias=0.0,
    invariance_weight=0.25,
  )
  got = support.terms(method, variables=variables)['icd']
  np.testing.assert_allclose(got, 2.0 * want.mean(), rtol=1e-5)


def test_beyond_its_cap_the_scale_has_no_gradient():
  method = Icd(width=3, max_scale=2.0)  # exp(1) is above it
  variables = _variables(method)

  def total(params):
    given = {**variables, 'params': params}
    return support.terms(method, variables=given)['icd']

  slopes = jax.grad(total)(variables['params'])
  assert float(slopes['log_scale']) == 0.0
  assert np.any(np.asarray(slopes['student']['kernel']) != 0)
  assert np.any(np.asarray(slopes['teacher']['kernel']) != 0)


@pytest.mark.parametrize(
  ('setting', 'message'),
  [
    ({'weight': -1.0}, 'weight of Icd must be zero or more'),
    ({'invariance_weight': -1.0}, 'invariance_weight of Icd must be zero'),
    ({'width': 0}, 'width of Icd must be at least 1, got 0'),
  ],
)
def test_refuses_what_cannot_be(setting, message):
  with pytest.raises(ValueError, match=message):
    Icd(**setting)
