import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.features import LinearClassifier
from kdjax.methods import Lshfm, create
from tests.methods import support

RIGHT = 4  # of the six images


def _spec(width, **changes):
  shapes = LinearClassifier(
    jax.ShapeDtypeStruct((width, support.CLASSES), jnp.float32),
    jax.ShapeDtypeStruct((support.CLASSES,), jnp.float32),
  )
  changes = {'classifier': shapes, **changes}
  return dataclasses.replace(support.spec(width, f'w{width}'), **changes)


def _variables(method, student=7, teacher=7):
  return method.init(
    jax.random.key(4), _spec(student), _spec(teacher), support.DATA
  )


def _labels(right=RIGHT):
  """Returns labels of which the teacher predicts `right` correctly."""
  best = np.argmax(support.make_pass(7, 2).features.logits, axis=1)
  wrong = (best + 1) % support.CLASSES
  return jnp.asarray(np.where(np.arange(support.BATCH) < right, best, wrong))


def _terms(method, variables, labels=None, student=None):
  student = student or support.make_pass(7, 1)
  batch = {'label': _labels() if labels is None else labels}
  return method.terms(
    variables, student, support.make_pass(7, 2), batch, support.context()
  )


def _lshfm(**settings):
  settings = {'hashes': 30, 'spread': 0.3, **settings}
  return Lshfm(**settings)


@pytest.mark.parametrize('hash_loss', ['bce', 'l1', 'l2'])
@pytest.mark.parametrize('loss', ['l1', 'l2', 'lsh', 'lshl2'])
def test_term_is_the_mean_over_all_or_correct_images(loss, hash_loss):
  student, teacher = (support.features(7, n).embedding for n in (1, 2))
  made = _lshfm(loss=loss, hash_loss=hash_loss, weight=2.5)
  variables = _variables(made)
  values = jnp.zeros(support.BATCH)
  if 'lsh' in loss:
    of_hashes = {
      'bce': losses.lsh,
      'l1': losses.lsh_absolute,
      'l2': losses.lsh_squared,
    }[hash_loss]
    planes = variables['state']
    values += of_hashes(student, teacher, planes['kernel'], planes['bias'])
  if loss.endswith('l2'):
    values += losses.mean_squared_error(student, teacher)
  if loss == 'l1':
    values += losses.mean_absolute_error(student, teacher)
  got = _terms(made, variables)[0]['lshfm']
  np.testing.assert_allclose(got, 2.5 * values.mean(), rtol=1e-5)
  kept = dataclasses.replace(made, loss=f'{loss}_s')
  got = _terms(kept, variables)[0]['lshfm']
  np.testing.assert_allclose(got, 2.5 * values[:RIGHT].mean(), rtol=1e-5)
  got = _terms(kept, variables, _labels(support.BATCH))[0]['lshfm']
  np.testing.assert_allclose(got, 2.5 * values.mean(), rtol=1e-5)


def test_no_correct_image_gives_zero_loss_and_gradient():
  made = _lshfm()
  variables = _variables(made)

  def loss(embedding):
    features = dataclasses.replace(support.features(7, 1), embedding=embedding)
    student = dataclasses.replace(support.make_pass(7, 1), features=features)
    return _terms(made, variables, _labels(0), student)[0]['lshfm']

  value, slope = jax.value_and_grad(loss)(support.features(7, 1).embedding)
  assert float(value) == 0
  np.testing.assert_array_equal(slope, np.zeros_like(slope))


def test_teacher_has_no_gradient():
  made = _lshfm(loss='lshl2', hash_loss='l2')
  variables = _variables(made)

  def loss(embedding):
    features = dataclasses.replace(support.features(7, 2), embedding=embedding)
    teacher = dataclasses.replace(support.make_pass(7, 2), features=features)
    student = support.make_pass(7, 1)
    given = (variables, student, teacher, {'label': _labels()})
    return made.terms(*given, support.context())[0]['lshfm']

  slope = jax.grad(loss)(support.features(7, 2).embedding)
  np.testing.assert_array_equal(slope, np.zeros_like(slope))


def _walk(read):
  for seed in range(20, 23):
    yield jax.device_get(read(support.features(7, seed), {}))


def _classifier():
  kernel = 0.5 * jax.random.normal(jax.random.key(9), (7, support.CLASSES))
  return LinearClassifier(kernel, jnp.zeros(support.CLASSES))


def test_prepare_computes_std_and_bias_from_the_teacher():
  made = Lshfm(hashes=50)
  variables = _variables(made)
  got = made.prepare(variables, _walk, _classifier(), jax.random.key(0))
  spread = np.std(np.asarray(_classifier().kernel), ddof=1)
  np.testing.assert_allclose(
    got['state']['kernel'], spread * variables['state']['kernel'], rtol=1e-6
  )
  rows = np.concatenate(list(_walk(lambda features, _: features.embedding)))
  hashes = np.sort(rows @ got['state']['kernel'], axis=0)
  np.testing.assert_allclose(
    got['state']['bias'], -hashes[(len(rows) - 1) // 2], atol=1e-5
  )


def test_given_std_requires_no_classifier():
  made = _lshfm(bias='zero', loss='lshl2')
  bare = _spec(7, classifier=None, has_head=False)
  variables = made.init(jax.random.key(4), _spec(7), bare, support.DATA)
  got = made.prepare(variables, _walk, None, jax.random.key(0))
  for name in ('kernel', 'bias'):
    np.testing.assert_array_equal(got['state'][name], variables['state'][name])
  assert 0.2 < float(got['state']['kernel'].std()) < 0.4


def test_default_is_32_hashes_per_feature():
  assert _variables(Lshfm())['state']['kernel'].shape == (7, 224)


def test_feature_losses_have_no_planes():
  made = Lshfm(loss='l2')
  variables = made.init(
    jax.random.key(4), _spec(7), _spec(7, classifier=None), support.DATA
  )
  assert variables['state'] == {}
  assert made.prepare(variables, None, None, jax.random.key(0)) is variables


class _Replacing:
  """A network that accepts any classifier."""

  def with_classifier(self, variables, classifier):
    return variables, classifier


def test_two_layers_predict_like_the_exported_layer():
  made = _lshfm()
  variables = _variables(made, student=5)
  layers = variables['params']
  assert layers['embedding']['kernel'].shape == (5, 7)
  assert layers['classifier']['kernel'].shape == (7, support.CLASSES)
  student = support.make_pass(5, 1)
  predicting, state = made.predicting(variables, student, None)
  assert state is None
  network = _Replacing()
  got, merged = made.export(variables, (network, 'own'), None)
  assert got is network
  assert merged[0] == 'own'
  rows = student.features.embedding
  want = rows @ merged[1].kernel + merged[1].bias
  np.testing.assert_allclose(predicting.features.logits, want, atol=1e-5)
  np.testing.assert_allclose(predicting.head(rows), want, atol=1e-5)
  # The embedding between both layers is compared with the teacher.
  value = _terms(made, variables, student=student)[0]['lshfm']
  between = rows @ layers['embedding']['kernel'] + layers['embedding']['bias']
  one = dataclasses.replace(student.features, embedding=between)
  direct = dataclasses.replace(student, features=one)
  planes = {**variables, 'params': {}}
  want = _terms(made, planes, student=direct)[0]['lshfm']
  np.testing.assert_allclose(value, want, rtol=1e-5)


def test_single_layer_is_the_student_s_own():
  made = _lshfm()
  variables = _variables(made)
  assert variables['params'] == {}
  student = support.make_pass(7, 1)
  assert made.predicting(variables, student, None) == (student, None)
  assert made.export(variables, (None, 'own'), None) == (None, 'own')
  assert _terms(made, variables)[1].student == 'all'


def test_two_layer_head_trains_the_body_and_its_layers():
  variables = _variables(_lshfm(), student=5)
  student = support.make_pass(5, 1)
  updates = _terms(_lshfm(), variables, student=student)[1]
  assert (updates.student, updates.active) == ('body', None)


def test_embedding_kernel_may_be_normal_without_bias():
  layers = _variables(_lshfm(embedding_spread=0.01, head='2fc'))['params']
  assert 0.005 < float(layers['embedding']['kernel'].std()) < 0.02
  assert not np.any(layers['embedding']['bias'])


def test_combination_keeps_the_default_settings():
  assert create('kd+lshfm').lshfm == Lshfm()


@pytest.mark.parametrize(
  ('settings', 'student', 'teacher', 'message'),
  [
    ({'head': '1fc'}, _spec(5), _spec(7), r'w5 has 5 and w7 has 7\. Give'),
    (
      {'spread': None},
      _spec(7),
      _spec(7, classifier=None),
      r'w7 has none or does not declare it\. Give --method\.spread',
    ),
    (
      {},
      _spec(7),
      _spec(7, classifier=None, has_head=False),
      r'it has no classifier\. Give --method\.loss=lshl2',
    ),
    (
      {},
      _spec(5, classifier=None),
      _spec(7),
      'w5 does not declare',
    ),
  ],
)
def test_unsupported_pairs_raise_an_error(settings, student, teacher, message):
  with pytest.raises(ValueError, match=message):
    _lshfm(**settings).init(jax.random.key(0), student, teacher, support.DATA)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'hashes': 0}, 'hashes of Lshfm must be positive, got 0'),
    ({'spread': 0.0}, 'spread of Lshfm must be positive'),
    ({'spread': float('nan')}, 'spread of Lshfm must be a finite number'),
    ({'weight': -1.0}, 'weight of Lshfm must be zero or more'),
    ({'memory': 0}, 'memory of Lshfm must be positive'),
    ({'loss': 'lshl3'}, "did you mean 'lshl2'"),
    ({'bias': 'mode'}, "'mode'"),
  ],
)
def test_invalid_settings_raise_an_error(settings, message):
  with pytest.raises(ValueError, match=message):
    Lshfm(**settings)


def test_multi_label_targets_raise_an_error_for_correct_only():
  made = _lshfm()
  with pytest.raises(ValueError, match='one class per image'):
    _terms(made, _variables(made), jnp.zeros((support.BATCH, 3)))
