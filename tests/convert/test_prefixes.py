"""Files that hold more than one network."""

import jax
import numpy as np
import pytest

from kdjax import convert, models
from kdjax.convert.torch import layout, names

NETWORK, SHAPE = 'resnet8', (8, 8, 3)
TEMPLATE = models.create(NETWORK, num_classes=3).describe(SHAPE).variables


def _weights(value: float) -> dict[str, np.ndarray]:
  """Returns arrays of one value by PyTorch name."""
  variables = jax.tree.map(
    lambda leaf: np.full(leaf.shape, value, leaf.dtype), TEMPLATE
  )
  return layout.to_torch(variables, names.rules_of(NETWORK))


def _file(tmp_path, **networks):
  """Writes networks under prefixes, in which `__` is a dot."""
  path = tmp_path / 'both.npz'
  arrays = {
    f'{prefix.replace("__", ".")}.{name}': array
    for prefix, weights in networks.items()
    for name, array in weights.items()
  }
  np.savez(path, **arrays)
  return path


def _load(path, **settings):
  variables = convert.load(path, TEMPLATE, network=NETWORK, **settings)
  (value,) = {float(np.ravel(leaf)[0]) for leaf in jax.tree.leaves(variables)}
  return value


@pytest.fixture
def pair(tmp_path):
  return _file(
    tmp_path, module__student=_weights(1.0), module__teacher=_weights(2.0)
  )


@pytest.mark.parametrize(
  ('prefix', 'value'),
  [('module.student', 1.0), ('module.teacher', 2.0), ('module.teacher.', 2.0)],
)
def test_prefix_selects_one_of_two_networks(pair, prefix, value):
  assert _load(pair, prefix=prefix) == value


def test_error_without_prefix_lists_matching_prefixes(pair):
  count = len(_weights(1.0))
  with pytest.raises(ValueError, match='does not fit resnet8') as error:
    _load(pair)
  assert str(error.value).splitlines()[-1] == (
    f'Its names begin with module.student. ({count} arrays fit), '
    f'module.teacher. ({count} arrays fit): choose one network with '
    'prefix=module.student.'
  )


def test_prefix_excludes_parameters_of_the_loss(tmp_path):
  criterion = {'weight': np.ones((3, 4), np.float32)}
  path = _file(tmp_path, model=_weights(1.0), criterion=criterion)
  with pytest.raises(ValueError, match='choose one network with prefix=model'):
    _load(path)
  assert _load(path, prefix='model') == 1.0


def test_unknown_prefix_lists_the_known_prefixes(pair):
  with pytest.raises(
    ValueError, match=r'no name begins with model\.; they begin with module\.$'
  ):
    _load(pair, prefix='model')


def test_file_of_another_network_has_no_prefix_advice(tmp_path):
  path = _file(tmp_path, model={'x': np.ones(2, np.float32)})
  with pytest.raises(ValueError, match='Nothing matches'):
    _load(path)
