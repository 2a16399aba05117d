"""Loading the exported student of a run, also if its method predicts."""

import json

import jax
import numpy as np
import pytest

from kdjax import methods, models
from kdjax.methods import Lshfm, Ssim, TrainSpec
from kdjax.runtime import files
from kdjax.runtime.checkpoints import save_variables
from kdjax.studies.trained import exported_template, load_trained
from tests.train.test_contracts import Predictor

SHAPE = (8, 8, 1)
ABOUT = {
  'network': 'convnet_4_8',
  'teacher': 'convnet_4_8',
  'num_classes': 10,
  'image_shape': list(SHAPE),
  'mean': [0.3],
  'std': [0.4],
  'precision': 'float32',
}


@pytest.fixture
def images():
  return jax.random.uniform(jax.random.key(0), (4, *SHAPE))


@pytest.mark.parametrize(
  'method',
  [
    *map(methods.create, sorted(methods.METHODS)),
    methods.create('kd+kd2m'),
    Ssim(stages=(0, 1), weight=((0, 1.0), (5, 2.0))),
  ],
  ids=lambda method: type(method).__name__,
)
def test_settings_round_trip_through_json(method):
  stored = json.loads(json.dumps(files.to_json(method)))
  again = methods.from_json(stored)
  assert files.to_json(again) == files.to_json(method)


@pytest.mark.parametrize(
  ('stored', 'message'),
  [
    ({'type': 'Kb'}, "did you mean 'Kd'"),
    ({'type': 'Kd', 'wieght': 1.0}, "did you mean 'weight'"),
    ({'type': 'Kd', 'weight': -1.0}, 'must be zero or more'),
  ],
)
def test_invalid_settings_raise_an_error(stored, message):
  with pytest.raises(ValueError, match=message):
    methods.from_json(stored)


def _folder(tmp_path, method, variables):
  about = {**ABOUT, 'method': files.to_json(method)}
  files.write_json(tmp_path / 'config.json', about)
  save_variables(tmp_path / 'student', variables)
  return tmp_path


def _pair():
  network = models.create(
    'convnet_4_8', num_classes=10, mean=(0.3,), std=(0.4,)
  )
  keys = jax.random.split(jax.random.key(1))
  return network, [network.initialize(key, SHAPE) for key in keys]


def _own(method, network):
  spec = network.describe(SHAPE, 4)
  data = TrainSpec(4, np.zeros(4, np.int32), 10)
  return method.init(jax.random.key(2), spec, spec, data)


def test_two_layers_are_loaded_as_one_classifier(tmp_path, images):
  method = Lshfm(head='2fc')
  network, (student, teacher) = _pair()
  exported, variables = method.export(
    _own(method, network), (network, student), (network, teacher)
  )
  trained = load_trained(_folder(tmp_path, method, variables))
  want, _ = exported.apply(variables, images, train=False)
  got, _ = trained.network.apply(trained.variables, images, train=False)
  np.testing.assert_allclose(got.logits, want.logits, rtol=1e-6)


def test_predicting_method_is_loaded_with_its_student(
  tmp_path, images, monkeypatch
):
  monkeypatch.setitem(methods.METHODS, 'predictor', Predictor)
  method = Predictor()
  network, (student, teacher) = _pair()
  exported, variables = method.export(
    _own(method, network), (network, student), (network, teacher)
  )
  trained = load_trained(_folder(tmp_path, method, variables))
  assert trained.network.name == exported.name == 'both'
  want, _ = exported.apply(variables, images, train=False)
  got, _ = trained.network.apply(trained.variables, images, train=False)
  np.testing.assert_array_equal(got.logits, want.logits)


def test_run_without_a_student_raises_an_error(tmp_path):
  with pytest.raises(ValueError, match='the run has not ended'):
    load_trained(tmp_path)


@pytest.mark.parametrize('type_', ['Theirs', 'kd+theirs'])
def test_student_of_an_unknown_method_is_a_plain_network(type_):
  network, _ = exported_template({**ABOUT, 'method': {'type': type_}})
  assert network.name == 'convnet_4_8'


@pytest.mark.parametrize('type_', ['Kd', 'kd+icd'])
def test_invalid_setting_of_a_known_method_raises_an_error(type_):
  about = {**ABOUT, 'method': {'type': type_, 'task_weight': -1.0}}
  with pytest.raises(ValueError, match=r'task_weight of .* must be zero'):
    exported_template(about)


def test_plain_student_has_the_template_of_its_network():
  network, template = exported_template({**ABOUT, 'teacher': 'convnet_8_16'})
  assert network.name == 'convnet_4_8'
  assert set(template) == {'params', 'batch_stats'}
