import dataclasses

import pytest

from kdjax import methods


def test_every_method_is_made_by_its_name():
  for name, made in methods.METHODS.items():
    assert type(methods.create(name)) is made


def test_every_method_is_a_frozen_set_of_keyword_settings():
  for made in methods.METHODS.values():
    assert dataclasses.is_dataclass(made)
    with pytest.raises(dataclasses.FrozenInstanceError):
      made().task_weight = 2.0
    with pytest.raises(TypeError):
      made(1.0)


def test_every_setting_is_checked_when_it_is_made():
  for made in methods.METHODS.values():
    with pytest.raises(ValueError, match='task_weight'):
      made(task_weight=float('nan'))


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('kd2n', "Unknown method 'kd2n'; did you mean 'kd2m'"),
    ('KD', "did you mean 'kd'"),
    ('', "Unknown method ''. Known: "),
    ('kd+xyzzy', "Unknown method 'xyzzy'. Known: "),
    ('kd+kd', 'must combine different methods'),
    ('none+kd', 'without none'),
  ],
)
def test_refuses_names_that_are_none(name, message):
  with pytest.raises(ValueError, match=message.replace('+', r'\+')):
    methods.create(name)
