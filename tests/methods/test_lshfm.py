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
  """Labels of which the teacher gets so many right."""
  best = np.argmax(support.made(7, 2).features.logits, axis=1)
  wrong = (best + 1) % support.CLASSES
  return jnp.asarray(np.where(np.arange(support.BATCH) < right, best, wrong))


def _terms(method, variables, labels=None, student=None):
  student = student or support.made(7, 1)
  batch = {'label': _labels() if labels is None else labels}
  return method.terms(
    variables, student, support.made(7, 2), batch, support.context()
  )


def _made(**settings):
  settings = {'hashes': 30, 'spread': 0.3, **settings}
  return Lshfm(**settings)


@pytest.mark.parametrize('hash_loss', ['bce', 'l1', 'l2'])
@pytest.mark.parametrize('loss', ['l1', 'l2', 'lsh', 'lshl2'])
def test_the_mean_of_its_parts_over_all_images_or_the_right_ones(
  loss, hash_loss
):
  student, teacher = (support.features(7, n).embedding for n in (1, 2))
  made = _made(loss=loss, hash_loss=hash_loss, weight=2.5)
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


def test_where_the_teacher_is_never_right_nothing_is_asked():
  made = _made()
  variables = _variables(made)

  def loss(embedding):
    features = dataclasses.replace(support.features(7, 1), embedding=embedding)
    student = dataclasses.replace(support.made(7, 1), features=features)
    return _terms(made, variables, _labels(0), student)[0]['lshfm']

  value, slope = jax.value_and_grad(loss)(support.features(7, 1).embedding)
  assert float(value) == 0
  np.testing.assert_array_equal(slope, np.zeros_like(slope))


def test_nothing_of_the_teacher_is_differentiated():
  made = _made(loss='lshl2', hash_loss='l2')
  variables = _variables(made)

  def loss(embedding):
    features = dataclasses.replace(support.features(7, 2), embedding=embedding)
    teacher = dataclasses.replace(support.made(7, 2), features=features)
    student = support.made(7, 1)
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


def test_prepare_takes_spread_and_bias_from_the_teacher():
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


def test_a_spread_that_is_given_needs_no_classifier():
  made = _made(bias='zero', loss='lshl2')
  bare = _spec(7, classifier=None, has_head=False)
  variables = made.init(jax.random.key(4), _spec(7), bare, support.DATA)
  got = made.prepare(variables, _walk, None, jax.random.key(0))
  for name in ('kernel', 'bias'):
    np.testing.assert_array_equal(got['state'][name], variables['state'][name])
  assert 0.2 < float(got['state']['kernel'].std()) < 0.4


def test_by_default_there_are_32_hashes_per_feature():
  assert _variables(Lshfm())['state']['kernel'].shape == (7, 224)


def test_losses_of_features_alone_draw_no_planes():
  made = Lshfm(loss='l2')
  variables = made.init(
    jax.random.key(4), _spec(7), _spec(7, classifier=None), support.DATA
  )
  assert variables['state'] == {}
  assert made.prepare(variables, None, None, jax.random.key(0)) is variables


class _Replacing:
  """A network whose variables hold any classifier."""

  def with_classifier(self, variables, classifier):
    return variables, classifier


def test_two_layers_predict_as_the_one_they_leave_as():
  made = _made()
  variables = _variables(made, student=5)
  layers = variables['params']
  assert layers['embedding']['kernel'].shape == (5, 7)
  assert layers['classifier']['kernel'].shape == (7, support.CLASSES)
  student = support.made(5, 1)
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
  # What is compared with the teacher lies between the two.
  value = _terms(made, variables, student=student)[0]['lshfm']
  between = rows @ layers['embedding']['kernel'] + layers['embedding']['bias']
  one = dataclasses.replace(student.features, embedding=between)
  direct = dataclasses.replace(student, features=one)
  planes = {**variables, 'params': {}}
  want = _terms(made, planes, student=direct)[0]['lshfm']
  np.testing.assert_allclose(value, want, rtol=1e-5)


def test_one_layer_is_the_students_own():
  made = _made()
  variables = _variables(made)
  assert variables['params'] == {}
  student = support.made(7, 1)
  assert made.predicting(variables, student, None) == (student, None)
  assert made.export(variables, (None, 'own'), None) == (None, 'own')
  assert _terms(made, variables)[1].student == 'all'


def test_what_two_layers_train():
  variables = _variables(_made(), student=5)
  student = support.made(5, 1)
  updates = _terms(_made(), variables, student=student)[1]
  assert (updates.student, updates.active) == ('body', None)


def test_the_first_kernel_may_be_normal_with_no_bias():
  layers = _variables(_made(embedding_spread=0.01, head='2fc'))['params']
  assert 0.005 < float(layers['embedding']['kernel'].std()) < 0.02
  assert not np.any(layers['embedding']['bias'])


def test_beside_kd_it_keeps_its_settings():
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
def test_refuses_pairs_it_cannot_serve(settings, student, teacher, message):
  with pytest.raises(ValueError, match=message):
    _made(**settings).init(jax.random.key(0), student, teacher, support.DATA)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'hashes': 0}, 'hashes of Lshfm must be positive, got 0'),
    ({'spread': 0.0}, 'spread of Lshfm must be positive'),
    ({'spread': float('nan')}, 'spread of Lshfm must be positive'),
    ({'weight': -1.0}, 'weight of Lshfm must be zero or more'),
    ({'memory': 0}, 'memory of Lshfm must be positive'),
    ({'loss': 'lshl3'}, "did you mean 'lshl2'"),
    ({'bias': 'mode'}, "'mode'"),
  ],
)
def test_refuses_settings_that_cannot_be(settings, message):
  with pytest.raises(ValueError, match=message):
    Lshfm(**settings)


def test_refuses_labels_of_several_classes_where_it_asks_who_is_right():
  made = _made()
  with pytest.raises(ValueError, match='one class per image'):
    _terms(made, _variables(made), jnp.zeros((support.BATCH, 3)))
