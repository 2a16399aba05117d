"""Grouping of arms that share a compiled program."""

import dataclasses
from collections.abc import Mapping

from etils import epath

from kdjax.methods import Kd
from kdjax.runtime.mesh import first_devices
from kdjax.runtime.signals import StopRequest
from kdjax.studies import Comparison, Session, StudyConfig
from kdjax.studies import teacher as teacher_lib
from kdjax.train import Recipe
from tests.train import support

METHODS = {
  'kd': Kd(),
  'kd-1': Kd(weight=1.0),
  'kd-2': Kd(weight=2.0),
  'kd-2-rate': Kd(weight=2.0),
  'warm-1': Kd(weight=1.0, temperature=2.0),
  'warm-2': Kd(weight=2.0, temperature=2.0),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep(StudyConfig):
  @property
  def arms(self) -> Mapping:
    return METHODS

  def numbers(self, arm: str) -> dict[str, float]:
    if arm == 'kd':
      return {}
    swept = {'weight': METHODS[arm].weight}
    return {**swept, 'learning_rate': 0.1} if 'rate' in arm else swept


def test_arms_that_differ_only_in_swept_settings_share_a_program(
  tmp_path, monkeypatch
):
  session = Session(
    workdir=epath.Path(tmp_path),
    devices=first_devices(1),
    request=StopRequest(),
    progress=support.Listener(),
  )
  config = Sweep(
    dataset='digits',
    limit=7,
    teacher='convnet_4_8',
    student='convnet_4_8',
    method=Kd(),
    recipe=Recipe(batch_size=16),
  )
  groups = []
  monkeypatch.setattr(teacher_lib, 'obtain', lambda setup: 'teacher')
  monkeypatch.setattr(
    Comparison,
    '_train',
    lambda self, arms, teacher: groups.append((tuple(arms), teacher)) or [],
  )
  Comparison(config, session).run()
  assert groups == [
    (('student',), None),
    (('kd',), 'teacher'),
    (('kd-1', 'kd-2'), 'teacher'),
    (('kd-2-rate',), 'teacher'),
    (('warm-1', 'warm-2'), 'teacher'),
  ]
