"""KD²M as a method: settings, projection, terms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.features import Features, NetworkSpec
from kdjax.methods import Kd2m, Pass
from kdjax.methods.kd2m_metrics import METRICS, UNITLESS, WEIGHTS
from tests.losses import clouds
from tests.methods import support

_CLASSES = 3


def _spec(name, width):
  def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)

  features = Features((), (), (), shape(1, width), shape(1, _CLASSES))
  return NetworkSpec(
    name=name, boundary='post_relu', features=features, variables={}
  )


def _init(method, student, teacher):
  specs = _spec('resnet8', student), _spec('wide', teacher)
  return method.init(jax.random.key(0), *specs, support.DATA)


def _pass(embedding, logits):
  return Pass(
    features=Features((), (), (), embedding, logits),
    variables={},
    run_tail=lambda variables, hidden, start: None,
    run_head=lambda variables, embedding: None,
  )


def _batch(n=16, d=4):
  x, y, labels = clouds.make(0, n, d, kind='clustered', classes=_CLASSES)
  keys = jax.random.split(jax.random.key(0))
  logits = [jax.random.normal(key, (n, _CLASSES)) for key in keys]
  return (x, logits[0]), (y, logits[1]), labels


def _term(method, student, teacher, labels, variables=None):
  terms, updates = method.terms(
    variables or {'params': {}, 'state': {}},
    _pass(*student),
    _pass(*teacher),
    {'label': labels},
    support.context(),
  )
  assert list(terms) == ['kd2m']
  assert updates.state is None
  return terms['kd2m']


@pytest.mark.parametrize(
  'metric', [m for m in METRICS if not m.startswith('sinkhorn')]
)
def test_every_metric_has_gradients_of_the_student_only(metric):
  student, teacher, labels = _batch()
  method = Kd2m(metric=metric, weight=1.0)

  @jax.jit
  def gradients(student, teacher):
    return jax.value_and_grad(
      lambda s, t: _term(method, s, t, labels), argnums=(0, 1)
    )(student, teacher)

  value, (to_student, to_teacher) = gradients(student, teacher)
  assert np.isfinite(value)
  assert value > 0
  assert np.all(np.isfinite(to_student[0]))
  assert np.max(np.abs(to_student[0])) > 0
  for gradient in to_teacher:
    np.testing.assert_array_equal(gradient, 0)
  # Only the joint metric looks at the predictions.
  assert (np.max(np.abs(to_student[1])) > 0) == (metric == 'jw2')


@pytest.mark.slow  # importing ott alone takes seconds
@pytest.mark.parametrize('metric', ['sinkhorn', 'sinkhorn_reg'])
def test_entropic_metrics_are_positive_with_finite_gradients(metric):
  student, teacher, labels = _batch()
  method = Kd2m(metric=metric, weight=1.0, epsilon=0.05)
  loss, gradient = jax.value_and_grad(
    lambda x: _term(method, (x, student[1]), teacher, labels)
  )(student[0])
  assert loss > 0
  assert np.all(np.isfinite(gradient))


def test_weight_and_scale_are_factors():
  student, teacher, labels = _batch()
  plain = losses.wasserstein2(student[0], teacher[0])
  np.testing.assert_allclose(
    _term(Kd2m(weight=0.5), student, teacher, labels), 0.5 * plain, rtol=1e-6
  )
  scaled = Kd2m(weight=0.5, scale='teacher_var')
  variance = jnp.sum(jnp.var(teacher[0], axis=0))
  np.testing.assert_allclose(
    _term(scaled, student, teacher, labels), 0.5 * plain / variance, rtol=1e-5
  )


def test_default_weight_depends_on_metric_and_scale():
  assert Kd2m(metric='cw2').effective_weight == 1e-4  # the released code's
  for metric in METRICS:
    scale = 'none' if metric in UNITLESS else 'teacher_var'
    chosen = Kd2m(metric=metric, scale=scale).effective_weight
    assert chosen == WEIGHTS[metric] > 0
  assert Kd2m(metric='cw2', weight=0.0).effective_weight == 0


def test_zero_teacher_variance_gives_a_finite_term():
  student, teacher, labels = _batch()
  still = (jnp.ones_like(teacher[0]), teacher[1])
  method = Kd2m(scale='teacher_var')
  assert np.isfinite(_term(method, student, still, labels))


@pytest.mark.parametrize('metric', ['w2', 'cw2', 'jw2', 'w2_gauss', 'kl_gauss'])
def test_single_image_gives_a_finite_term(metric):
  student, teacher, labels = _batch(n=1)
  assert np.isfinite(_term(Kd2m(metric=metric), student, teacher, labels))


@pytest.mark.parametrize('metric', ['w2', 'cw2', 'jw2', 'w2_gauss_full'])
def test_local_statistics_are_the_mean_over_groups(metric):
  student, teacher, labels = _batch()
  method = Kd2m(metric=metric, weight=1.0, statistics='local', local_groups=4)
  got = jax.jit(lambda s, t: _term(method, s, t, labels))(student, teacher)
  whole = dataclasses.replace(method, statistics='global')
  parts = [
    _term(
      whole,
      *jax.tree.map(lambda a, i=i: a[4 * i : 4 * i + 4], (student, teacher)),
      labels[4 * i : 4 * i + 4],
    )
    for i in range(4)
  ]
  np.testing.assert_allclose(got, np.mean(parts), rtol=1e-4)
  if metric == 'w2':
    assert got > _term(whole, student, teacher, labels)


def test_groups_are_fewer_if_they_do_not_divide_the_batch():
  student, teacher, labels = _batch(n=6)  # 4 groups do not divide it, 2 do
  four, two = (
    Kd2m(weight=1.0, statistics='local', local_groups=groups)
    for groups in (4, 2)
  )
  np.testing.assert_allclose(
    _term(four, student, teacher, labels), _term(two, student, teacher, labels)
  )


@pytest.mark.slow
def test_projection_is_initialized_like_pytorch_and_trained():
  method = Kd2m(projection='linear', weight=1.0)
  variables = method.init(
    jax.random.key(0), _spec('narrow', 100), _spec('wide', 64), support.DATA
  )
  layer = variables['params']['projection']
  assert layer['kernel'].shape == (100, 64)
  assert layer['bias'].shape == (64,)
  for array in layer.values():  # uniform within 1 / sqrt(100)
    assert np.max(np.abs(array)) <= 0.1
  np.testing.assert_allclose(np.std(layer['kernel']), 0.1 / 3**0.5, rtol=0.05)

  student, teacher, labels = _batch(d=100)
  teacher = (teacher[0][:, :64], teacher[1])
  gradient = jax.grad(
    lambda params: _term(
      method, student, teacher, labels, {'params': params, 'state': {}}
    )
  )(variables['params'])
  projected = student[0] @ layer['kernel'] + layer['bias']
  want = jax.grad(losses.wasserstein2)(projected, teacher[0]).sum(axis=0)
  np.testing.assert_allclose(
    gradient['projection']['bias'], want, rtol=1e-3, atol=1e-4
  )


def test_method_without_projection_has_no_variables():
  variables = Kd2m().init(
    jax.random.key(0), _spec('a', 8), _spec('b', 8), support.DATA
  )
  assert variables == {'params': {}, 'state': {}}


def test_different_widths_raise_an_error():
  with pytest.raises(ValueError, match=r'resnet8 has 64 and wide has 128.*'):
    _init(Kd2m(), 64, 128)
  with pytest.raises(ValueError, match=r'--method\.projection=linear'):
    _init(Kd2m(), 64, 128)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'metric': 'w3'}, "metric of kd2m 'w3'; did you mean 'w2'"),
    ({'label_cost': 'sqprobs'}, "label_cost of kd2m 'sqprobs'.*'sqprob'"),
    ({'aggregation': 'means'}, "aggregation of kd2m 'means'"),
    ({'scale': 'student_var'}, "scale of Kd2m 'student_var'.*'teacher_var'"),
    ({'statistics': 'device'}, "statistics of Kd2m 'device'"),
    ({'weight': -1}, 'weight of Kd2m must be zero or more, got -1'),
    ({'weight': float('nan')}, 'weight of Kd2m .* got nan'),
    ({'epsilon': 0}, 'epsilon of Kd2m must be positive, got 0'),
    ({'ridge': 0}, 'ridge of Kd2m must be positive, got 0'),
    ({'local_groups': 0}, 'local_groups of Kd2m must be positive, got 0'),
    ({'beta': -2.0}, 'beta of Kd2m must be zero or more, got -2'),
    ({'metric': 'kl_gauss', 'scale': 'teacher_var'}, 'kl_gauss has no unit'),
  ],
)
def test_invalid_settings_raise_an_error(settings, message):
  with pytest.raises(ValueError, match=message):
    Kd2m(**settings)


def test_multi_label_targets_raise_an_error():
  student, teacher, _ = _batch()
  with pytest.raises(ValueError, match=r'cw2 needs one class.*\(16, 3\)'):
    _term(Kd2m(metric='cw2'), student, teacher, jnp.zeros((16, _CLASSES)))


def test_relative_ridge_scales_with_the_teacher():
  student, teacher, labels = _batch()
  method = Kd2m(metric='kl_gauss', weight=1.0, ridge=0.1, relative_ridge=True)
  tenfold = [(10 * part[0], part[1]) for part in (student, teacher)]
  np.testing.assert_allclose(
    _term(method, *tenfold, labels),
    _term(method, student, teacher, labels),
    rtol=1e-4,
  )


def test_unitless_metrics_are_a_subset_of_the_metrics():
  assert not set(UNITLESS) & {'paired', 'w2', 'cw2', 'jw2', 'w2_gauss'}
  assert set(UNITLESS) < set(METRICS)
