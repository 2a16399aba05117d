import json

import pytest

from kdjax.cli import work_folder

_ABOUT = {'command': 'c', 'config': {'seeds': [0, 1], 'decay_at': [0.5]}}


def _hold(folder, **changes):
  about = {**_ABOUT, 'config': {**_ABOUT['config'], **changes}}
  with work_folder.hold(folder, about, resume=True):
    (folder / 'config.json').write_text(json.dumps(about))


@pytest.fixture
def folder(tmp_path):
  _hold(tmp_path)
  return tmp_path


def test_more_seeds_go_into_the_folder_of_the_first_ones(folder):
  _hold(folder, seeds=[0, 1, 2])
  _hold(folder, seeds=[2, 1, 0, 5])


@pytest.mark.parametrize(
  'change', [{'seeds': [0, 2]}, {'seeds': [0]}, {'decay_at': [0.5, 0.75]}]
)
def test_what_is_no_more_than_before_is_another_configuration(folder, change):
  ((name, value),) = change.items()
  with pytest.raises(ValueError, match=f'{name}: was .*, now') as error:
    _hold(folder, **change)
  assert str(value) in str(error.value)
