"""Networks against golden values of RepDistiller.

`values/networks` holds copies of a few files without their weights, which are
generated from the seed.
"""

import pathlib

import numpy as np
import pytest

from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names
from tests.golden import weights
from tests.golden.kinds import networks
from tests.shared import SHARED, needs_shared

pytestmark = pytest.mark.usefixtures('hasty_compiler')

_COPIES = sorted((pathlib.Path(__file__).parent / 'values/networks').glob('*'))
_ALL = sorted((SHARED / 'golden/networks').glob('*.npz'))
_SMALL = ('resnet8_seed0', 'wrn_16_1_seed0')


def _check(path):
  results = networks.check(path)
  assert results
  assert [r for r in results if not r.passed] == []


@pytest.mark.parametrize(
  'path',
  [
    pytest.param(
      path,
      id=path.stem,
      marks=() if path.stem in _SMALL else pytest.mark.slow,
    )
    for path in _COPIES
  ],
)
def test_committed_values_match(path):
  if _ALL and path.stem not in _SMALL:
    pytest.skip('the complete shared files are tested instead')
  _check(path)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize('path', _ALL, ids=lambda path: path.stem)
def test_shared_files_match(path):
  _check(path)


@pytest.mark.parametrize('path', _COPIES, ids=lambda path: path.stem)
def test_rules_give_all_names_and_shapes_in_order(path):
  stored = np.load(path)
  name = path.stem.split('_seed')[0]
  shapes = weights.template(name, 100, (32, 32, 3))
  want = {
    str(key): tuple(int(n) for n in str(shape).split(','))
    for key, shape in zip(stored['param_names'], stored['param_shapes'])
  }
  got = weights.param_shapes(name, shapes)
  assert list(got.items()) == list(want.items())
  norms = weights.norm_names(name, shapes)
  assert list(norms) == [str(norm) for norm in stored['bn_names']]
  assert list(norms.values()) == stored['bn_channels'].tolist()


def test_unknown_network_has_no_comparisons(tmp_path):
  assert networks.check(tmp_path / 'alexnet_seed0.npz') == []


def test_wrong_running_variance_fails(tmp_path):
  path = next(path for path in _COPIES if path.stem == 'resnet8_seed0')
  stored = dict(np.load(path))
  stored['running_var'] = stored['running_var'] * 1.01
  np.savez(tmp_path / path.name, **stored)
  bad = {r.name for r in networks.check(tmp_path / path.name) if not r.passed}
  assert {'eval.logits', 'train.running_var_after'} <= bad
  assert 'train.logits' not in bad


def test_built_variables_have_the_stored_statistics():
  path = next(path for path in _COPIES if path.stem == 'resnet8_seed0')
  stored = np.load(path)
  variables = weights.build(
    'resnet8',
    seed=int(stored['weights_seed']),
    running_mean=stored['running_mean'],
    running_var=stored['running_var'],
  )
  arrays = torch_layout.to_torch(variables, names.rules_of('resnet8'))
  np.testing.assert_array_equal(
    weights.concatenated('resnet8', variables['batch_stats'], 'running_var'),
    stored['running_var'],
  )
  assert arrays['fc.weight'].shape == (100, 64)
