"""FCFD: features from which the later stages compute the same outputs."""

# pyright: reportUnknownMemberType=false

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from kdjax.features import NetworkSpec
from kdjax.methods import fcfd_check, fcfd_observe, fcfd_paths
from kdjax.methods.base import (
  Context,
  Method,
  Observations,
  TrainSpec,
  Updates,
)
from kdjax.methods.bridges import Side, make_bridge
from kdjax.methods.fcfd_paths import Directions, Path
from kdjax.methods.fcfd_step import Step, stage_name
from kdjax.methods.passes import Pass
from kdjax.methods.schedules import Weight, check_weight, value_at, warm_up
from kdjax.methods.settings import (
  check_choice,
  check_not_negative,
  check_positive,
)
from kdjax.typing import Batch, PyTree, Terms, Variables

# The types of some transformations are incomplete.
_jax: Any = jax


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fcfd(Method):
  r"""Function-consistent feature distillation.

  Both networks are divided into the same stages. A bridge after each stage
  :math:`i \ge 1` translates the student's features into the teacher's space.
  They are compared with the teacher's (appearance), and on random paths the
  later stages of one network process the translated features of the other
  (function). With the features :math:`X_i` in the teacher's space at stage
  :math:`i`, translated or on a path,

  .. math::
    L = L_{task} + \nu\,\mathrm{KL}_T(p_t \| p_s)
      + w \lambda \sum_{i \ge 1} \sum_{x \in X_i} \mathrm{MSE}(x, F_t^i)
      + \mu \sum_{j} \mathrm{KL}_T(p_t \| p_j) .

  At the last stage the inputs of the classifier are compared as well, with the
  same weight. Losses are summed over stages and paths. Liu, Kan, Shan and Chen,
  `Function-consistent feature distillation
  <https://openreview.net/forum?id=pgHNOcxEdRI>`_, 2023; see docs/fcfd.md.

  Attributes:
    kd_weight: Weight ν of the soft targets of the student: a number, or pairs
      of an epoch, from 0, and the value from that epoch on.
    feature_weight: Weight λ of the distances of features: a number, or pairs of
      an epoch, from 0, and the value from that epoch on.
    mixed_weight: Weight μ of the soft targets of paths: a number, or pairs of
      an epoch, from 0, and the value from that epoch on.
    temperature: Divisor of the logits of student and teacher before the
      softmax.
    mixed_temperature: Divisor of the logits of paths and teacher before the
      softmax (default: `temperature`).
    warmup_epochs: Number n of epochs over which the weight of features rises by
      the factor w = min(1, (epoch + 1) / n); 0 for none.
    directions: Paths to draw from: `s2t` from the student into the teacher,
      `t2s` from the teacher into the student, `bi` both, `nomix` none
      (appearance only).
    extra_paths: Number of different paths that are drawn in each step (default:
      2, or all if there are fewer).
    paths: Names of the only paths to draw from, with one digit per stage, 0 for
      the teacher and 1 for the student (default: all of the directions).
    teacher_bn: `train` for a teacher that normalizes with the batch and updates
      its running statistics, as published; `eval` for a teacher that uses its
      running statistics.
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
    check_positive(self, 'temperature')
    if self.mixed_temperature is not None:
      check_positive(self, 'mixed_temperature')
    check_not_negative(self, 'warmup_epochs')
    check_choice(self, 'directions', ('bi', 's2t', 't2s', 'nomix'))
    check_choice(self, 'teacher_bn', ('train', 'eval'))
    if self.extra_paths is not None:
      check_not_negative(self, 'extra_paths')
    if len(set(self.paths)) < len(self.paths):
      raise ValueError(f'paths of Fcfd must be different, got {self.paths}.')

  @property
  def teacher_mode(self) -> Literal['train', 'eval']:  # pyright: ignore
    """Mode in which the teacher normalizes."""
    return self.teacher_bn

  def init(
    self,
    key: jax.Array,
    student: NetworkSpec,
    teacher: NetworkSpec,
    data: TrainSpec,
  ) -> Variables:
    """Returns bridges in both directions after every stage but the stem."""
    del data
    fcfd_check.check_pair(student, teacher)
    sides = _sides(student), _sides(teacher)
    self._candidates(len(sides[0]))

    def draw(key: jax.Array) -> Variables:
      to_teacher = _init_bridges(key, 0, *sides)
      to_student = _init_bridges(key, 1, *sides[::-1])
      return {
        collection: {
          'to_teacher': {i: v[name] for i, v in to_teacher.items()},
          'to_student': {i: v[name] for i, v in to_student.items()},
        }
        for collection, name in (('params', 'params'), ('state', 'batch_stats'))
      }

    return _jax.jit(draw)(key)

  def terms(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    batch: Batch,
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Computes `kd`, `appearance`, `function` and `function_t2s`.

    `function` is the sum of the losses of paths into the teacher, features and
    soft targets; `function_t2s` that of paths into the student, soft targets.
    See `Method.terms`.
    """
    del batch
    step = self._step(variables, student, teacher, self.weights(context.epoch))
    translated, stats = step.translate()
    terms: Terms = {
      'kd': value_at(self.kd_weight, context.epoch)
      * step.divergence(student.features.logits, self.temperature),
      'appearance': step.appearance(translated),
    }
    student_stats = dict(step.state['to_student'])
    active: dict[str, jax.Array | bool] = dict.fromkeys(student_stats, False)
    paths = self._candidates(len(student.features.boundaries))
    drawn = fcfd_paths.draw(context.key, paths, self._count(paths))
    for path, chosen in drawn.items():
      if path.to_teacher:
        name, value = 'function', step.into_teacher(path, chosen, translated)
      else:
        name, stage = 'function_t2s', stage_name(path.split)
        value, student_stats[stage] = step.into_student(path, chosen)
        active[stage] = chosen
      terms[name] = terms.get(name, jnp.zeros(())) + value
    return terms, Updates(
      state={'to_teacher': stats, 'to_student': student_stats},
      active={'to_teacher': True, 'to_student': active},
    )

  def observe(
    self, variables: Variables, student: Pass, teacher: Pass, batch: Batch
  ) -> Observations:
    """Computes `function_gap` and `anisotropy`; see `fcfd_observe`."""
    del batch
    step = self._step(variables, student, teacher, {}, train=False)
    translated, _ = step.translate()
    maps = {i: translated[i] for i in range(1, len(translated))}
    return {
      'function_gap': fcfd_observe.function_gap(maps, teacher),
      'anisotropy': fcfd_observe.anisotropy(maps, teacher),
    }

  def weights(self, epoch: jax.typing.ArrayLike) -> dict[str, jax.Array]:
    """Returns the weights of an epoch: `features`, with warm-up, and `mixed`.

    Args:
      epoch: Epochs completed before this one.
    """
    factor = jnp.asarray(warm_up(self.warmup_epochs)(epoch))
    return {
      'features': factor * value_at(self.feature_weight, epoch),
      'mixed': value_at(self.mixed_weight, epoch),
    }

  def _step(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    weights: dict[str, jax.Array],
    train: bool = True,
  ) -> Step:
    temperature = self.temperature
    if self.mixed_temperature is not None:
      temperature = self.mixed_temperature
    return Step(variables, student, teacher, weights, temperature, train)

  def _candidates(self, stages: int) -> tuple[Path, ...]:
    """Returns the paths to draw from, after a check that there are enough."""
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

  def _count(self, paths: Sequence[Path]) -> int:
    """Returns the number of paths of a step."""
    if self.extra_paths is None:
      return min(2, len(paths))
    return self.extra_paths


def _sides(network: NetworkSpec) -> list[Side]:
  return [
    Side(network.name, boundary.shape[1:], network.boundary)
    for boundary in network.features.boundaries
  ]


def _init_bridges(
  key: jax.Array, offset: int, sources: list[Side], destinations: list[Side]
) -> dict[str, PyTree]:
  """Returns the variables of all bridges of one direction, by stage."""
  variables: dict[str, Any] = {}
  for i in range(1, len(sources)):
    bridge: Any = make_bridge(i, sources[i], destinations[i])
    variables[stage_name(i)] = bridge.init(
      jax.random.fold_in(key, 2 * i + offset),
      jnp.zeros((1, *sources[i].shape)),
      train=False,
    )
  return variables
