"""FCFD: features that the later layers of both networks read alike."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax.features import NetworkSpec
from kdjax.methods import base, fcfd_observe, fcfd_paths
from kdjax.methods.bridges import Side, make_bridge
from kdjax.methods.fcfd_paths import Directions, Path
from kdjax.methods.fcfd_step import Step, stage_name
from kdjax.methods.schedules import Weight, check_weight, value_at, warm_up


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fcfd(base.Method):
  r"""Function-consistent feature distillation.

  Both networks are cut into the same stages. A bridge after each stage
  :math:`i \ge 1` translates the student's features into the teacher's space.
  They are compared with the teacher's (appearance), and, on paths drawn anew
  for each step, the later stages of one network read the translated features of
  the other (function). With :math:`X_i` the translated features at stage
  :math:`i` and those that arrive there on a path through the teacher,

  .. math::
    L = L_{task} + \nu\,\mathrm{KL}_T(p_t \| p_s)
      + w \lambda \sum_{i \ge 1} \sum_{x \in X_i} \mathrm{MSE}(x, F_t^i)
      + \mu \sum_{j} \mathrm{KL}_T(p_t \| p_j) .

  At the last stage the inputs of the classifier are compared as well, with the
  same weight. Nothing is averaged over stages or paths. Liu, Kan, Shan and
  Chen, `Function-consistent feature distillation
  <https://openreview.net/forum?id=pgHNOcxEdRI>`_, 2023.

  Attributes:
    kd_weight: :math:`\nu`, of the soft targets of the student itself.
    feature_weight: :math:`\lambda`, of all features, bridged or on a path.
    mixed_weight: :math:`\mu`, of the soft targets of each path.
    temperature: :math:`T` of the student's soft targets.
    mixed_temperature: Of the paths'; as the student's without.
    warmup_epochs: :math:`w` rises over so many, `min(1, (epoch + 1) / n)`.
    directions: Of the paths to draw from: `s2t` from the student into the
      teacher, `t2s` back, `bi` both, `nomix` none: appearance alone.
    extra_paths: How many different paths a step takes; without, two, or none
      where there are none to draw from.
    paths: Draw from these paths only: one digit per stage, 0 for the teacher.
    teacher_bn: `train` as published: the teacher normalises with the batch, and
      its running statistics drift.
  """

  kd_weight: Weight = 1.0
  feature_weight: Weight = 5.0
  mixed_weight: Weight = 1.0
  temperature: float = 4.0
  mixed_temperature: float | None = None
  warmup_epochs: int = 20
  directions: Directions = 'bi'
  extra_paths: int | None = None
  paths: tuple[str, ...] = ()
  teacher_bn: Literal['train', 'eval'] = 'train'

  def __post_init__(self):
    """Checks the settings."""
    super().__post_init__()
    for name in ('kd_weight', 'feature_weight', 'mixed_weight'):
      check_weight('Fcfd', name, getattr(self, name))
    base.check_positive(self, 'temperature')
    if self.mixed_temperature is not None:
      base.check_positive(self, 'mixed_temperature')
    base.check_not_negative(self, 'warmup_epochs')
    base.check_choice(self, 'directions', ('bi', 's2t', 't2s', 'nomix'))
    base.check_choice(self, 'teacher_bn', ('train', 'eval'))
    if self.extra_paths is not None:
      base.check_not_negative(self, 'extra_paths')
    if len(set(self.paths)) < len(self.paths):
      raise ValueError(f'paths of Fcfd must be different, got {self.paths}.')

  @property
  def teacher_mode(self):
    """Training mode unless the settings say otherwise."""
    return self.teacher_bn

  def init(self, key, student, teacher):
    """Bridges both ways after every stage but the stem."""
    _check_pair(student, teacher)
    sides = _sides(student), _sides(teacher)
    self._candidates(len(sides[0]))

    @jax.jit
    def draw(key):
      made = {'params': {}, 'state': {}}
      for way, (sources, destinations) in enumerate((sides, sides[::-1])):
        drawn = {
          stage_name(i): make_bridge(i, sources[i], destinations[i]).init(
            jax.random.fold_in(key, 2 * i + way),
            jnp.zeros((1, *sources[i].shape)),
            train=False,
          )
          for i in range(1, len(sources))
        }
        name = ('to_teacher', 'to_student')[way]
        made['params'][name] = {i: v['params'] for i, v in drawn.items()}
        made['state'][name] = {i: v['batch_stats'] for i, v in drawn.items()}
      return made

    return draw(key)

  def terms(self, variables, student, teacher, batch, context):
    """`kd`, `appearance`, and `function` through each of the networks.

    `function` is what paths into the teacher add, features and soft targets;
    `function_t2s` what those into the student do.
    """
    del batch
    step = Step(self, variables, student, teacher, self.weights(context.epoch))
    translated, stats = step.translate()
    terms = {
      'kd': value_at(self.kd_weight, context.epoch)
      * step.divergence(student.features.logits, self.temperature),
      'appearance': step.appearance(translated),
    }
    state = {'to_teacher': stats, 'to_student': dict(step.state['to_student'])}
    active = {
      'to_teacher': True,
      'to_student': dict.fromkeys(state['to_student'], False),
    }
    paths = self._candidates(len(student.features.boundaries))
    count = self._count(paths)
    for path, chosen in fcfd_paths.draw(context.key, paths, count).items():
      if path.to_teacher:
        name, value = 'function', step.into_teacher(path, chosen, translated)
      else:
        name = 'function_t2s'
        value, stats = step.into_student(path, chosen)
        state['to_student'][stage_name(path.split)] = stats
        active['to_student'][stage_name(path.split)] = chosen
      terms[name] = terms.get(name, 0.0) + value
    return terms, base.Updates(state=state, active=active)

  def observe(self, variables, student, teacher, batch):
    """`function_gap` and `anisotropy`; see `kdjax.methods.fcfd_observe`."""
    del batch
    step = Step(self, variables, student, teacher, {}, train=False)
    translated, _ = step.translate()
    maps = {i: translated[i] for i in range(1, len(translated))}
    return {
      'function_gap': fcfd_observe.function_gap(maps, teacher),
      'anisotropy': fcfd_observe.anisotropy(maps, teacher),
    }

  def weights(self, epoch: jax.typing.ArrayLike) -> dict[str, jax.Array]:
    """Those of an epoch: of `features`, warm-up and all, and `mixed`."""
    warm = warm_up(epoch, self.warmup_epochs)
    return {
      'features': warm * value_at(self.feature_weight, epoch),
      'mixed': value_at(self.mixed_weight, epoch),
    }

  def _candidates(self, stages: int) -> tuple[Path, ...]:
    """The paths to draw from, after a check that there are enough."""
    known = fcfd_paths.candidates(stages, self.directions)
    paths = fcfd_paths.named(self.paths, known) if self.paths else known
    if self._count(paths) > len(paths):
      among = ', '.join(path.name for path in paths) or 'none'
      raise ValueError(
        f'extra_paths is {self.extra_paths}, but between networks of {stages} '
        f'stages directions={self.directions} has {len(paths)} paths to draw '
        f'from: {among}. Give --method.extra_paths={len(paths)} or less.'
      )
    return paths

  def _count(self, paths) -> int:
    if self.extra_paths is None:
      return min(2, len(paths))
    return self.extra_paths


def _check_pair(student: NetworkSpec, teacher: NetworkSpec) -> None:
  """Raises a `ValueError` if the two cannot be cut into the same stages."""
  for network in (student, teacher):
    if not network.has_tail or len(network.features.boundaries) < 2:
      raise ValueError(
        'fcfd passes the features of one network through later stages of the '
        f'other, but {network.name} cannot be entered in the middle: it is no '
        'stack of stages. Give its forward_tail and boundaries '
        '(docs/own-networks.md), or use a method of features only.'
      )
  counts = [len(n.features.boundaries) for n in (student, teacher)]
  if counts[0] != counts[1]:
    described = '; '.join(
      f'{network.name} has {count}: '
      + ', '.join(str(shape.shape[1:]) for shape in network.features.boundaries)
      for network, count in zip((student, teacher), counts)
    )
    raise ValueError(
      'fcfd needs networks with the same number of stages, the stem counted. '
      f'{described}. Take another pair.'
    )


def _sides(network: NetworkSpec) -> list[Side]:
  return [
    Side(network.name, boundary.shape[1:], network.boundary)
    for boundary in network.features.boundaries
  ]
