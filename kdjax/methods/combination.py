"""Several methods at once: the sum of their loss terms."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax

from kdjax.features import LinearClassifier, NetworkSpec
from kdjax.methods.base import (
  Context,
  Method,
  Observations,
  StudentPart,
  TrainSpec,
  Updates,
  Walk,
)
from kdjax.methods.passes import Pass
from kdjax.network import Network
from kdjax.typing import Batch, PyTree, Terms, Variables


class Combination(Method):
  """Base class of combinations: one field per method."""

  def parts(self) -> dict[str, Method]:
    """Returns the methods by name."""
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if isinstance(getattr(self, field.name), Method)
    }

  @property
  def teacher_mode(self) -> Literal['eval', 'train']:  # pyright: ignore
    """`train` if one of the methods requires it."""
    modes = {part.teacher_mode for part in self.parts().values()}
    return 'train' if 'train' in modes else 'eval'

  @property
  def teacher_reads(self) -> Literal['features', 'outputs']:  # pyright: ignore
    """`features` if one of the methods reads them."""
    reads = {part.teacher_reads for part in self.parts().values()}
    return 'features' if 'features' in reads else 'outputs'

  @property
  def stage_starts(self) -> tuple[int, ...]:
    """Those of all methods."""
    starts = {
      start for part in self.parts().values() for start in part.stage_starts
    }
    return tuple(sorted(starts))

  def init(
    self,
    key: jax.Array,
    student: NetworkSpec,
    teacher: NetworkSpec,
    data: TrainSpec,
  ) -> Variables:
    """Returns the variables of each method under its name."""
    return _by_collection(
      {
        name: part.init(jax.random.fold_in(key, i), student, teacher, data)
        for i, (name, part) in enumerate(self.parts().items())
      }
    )

  def prepare(
    self,
    variables: Variables,
    walk: Walk,
    classifier: LinearClassifier | None,
    key: jax.Array,
  ) -> Variables:
    """Prepares each method."""
    return _by_collection(
      {
        name: part.prepare(
          _of(variables, name), walk, classifier, jax.random.fold_in(key, i)
        )
        for i, (name, part) in enumerate(self.parts().items())
      }
    )

  def terms(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    batch: Batch,
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Computes the terms of all methods.

    A term whose name two methods share is prefixed with the method's name.
    """
    terms: Terms = {}
    updates: dict[str, Updates] = {}
    for i, (name, part) in enumerate(self.parts().items()):
      own_context = dataclasses.replace(
        context, key=jax.random.fold_in(context.key, i)
      )
      own, updates[name] = part.terms(
        _of(variables, name), student, teacher, batch, own_context
      )
      for term, value in own.items():
        terms[f'{name}.{term}' if term in terms else term] = value
    return terms, _merged(updates, variables['state'])

  def observe(
    self, variables: Variables, student: Pass, teacher: Pass, batch: Batch
  ) -> Observations:
    """Computes the log lines of all methods.

    A kind of line that two methods share is prefixed with the method's name.
    """
    lines: Observations = {}
    for name, part in self.parts().items():
      own = part.observe(_of(variables, name), student, teacher, batch)
      for kind, line in own.items():
        lines[f'{name}.{kind}' if kind in lines else kind] = line
    return lines

  @property
  def observes(self) -> bool:
    """Whether one of the methods observes."""
    return any(part.observes for part in self.parts().values())

  def predicting(
    self, variables: Variables, student: Pass, teacher: Pass | None
  ) -> tuple[Pass, PyTree]:
    """Predicts through the one method that has predicting parts, if any."""
    states = dict(variables['state'])
    for name, part in self.parts().items():
      student, state = part.predicting(_of(variables, name), student, teacher)
      if state is not None:
        states[name] = state
    return student, states

  @property
  def predicts(self) -> bool:
    """Whether one of the methods predicts through its parts."""
    return any(part.predicts for part in self.parts().values())

  def export(
    self,
    variables: Variables,
    student: tuple[Network, PyTree],
    teacher: tuple[Network, PyTree] | None,
  ) -> tuple[Network, PyTree]:
    """Exports through the one method that has predicting parts, if any."""
    for name, part in self.parts().items():
      student = part.export(_of(variables, name), student, teacher)
    return student


def combine(methods: Mapping[str, Method]) -> Method:
  """Returns one method whose loss terms are those of several.

  Its fields are the methods, so that `combine({'kd': Kd(), 'kd2m': Kd2m()})`
  is set by `--method.kd.weight` and `--method.kd2m.weight`; each has its
  `combined()` defaults. The task loss has the combination's own weight, 1: the
  `task_weight` of the parts is not read.

  Args:
    methods: Methods by name.

  Raises:
    ValueError: If two of them predict through parts of their own.

  Examples:
    >>> from kdjax import methods
    >>> both = methods.combine({'kd': methods.Kd(), 'ssim': methods.Ssim()})
    >>> both.kd.weight, both.ssim.weight, both.task_weight
    (1.0, 4.0, 1.0)
  """
  predicting = [name for name, method in methods.items() if method.predicts]
  if len(predicting) > 1:
    raise ValueError(
      f'{" and ".join(predicting)} cannot be combined: the student would '
      'predict through the parts of each.'
    )
  fields: list[Any] = [
    (name, type(method), method.combined()) for name, method in methods.items()
  ]
  made = dataclasses.make_dataclass(
    '+'.join(methods),
    fields,
    bases=(Combination,),
    frozen=True,
    kw_only=True,
  )
  return made()


def _merged(updates: Mapping[str, Updates], old: PyTree) -> Updates:
  """Returns the updates of several methods as those of their combination."""
  states = {
    name: old[name] if update.state is None else update.state
    for name, update in updates.items()
  }
  active = {
    name: True if update.active is None else update.active
    for name, update in updates.items()
  }
  student_active: jax.Array | bool = True
  student: StudentPart = 'all'
  for update in updates.values():
    # A plain `True` must stay one, so that no mask is compiled for it.
    if update.student_active is not True:
      student_active = student_active & update.student_active
    if update.student == 'body':
      student = 'body'
  all_active = all(mask is True for mask in active.values())
  return Updates(
    state=states,
    active=None if all_active else active,
    student_active=student_active,
    student=student,
  )


def _of(variables: Variables, name: str) -> Variables:
  return {kind: variables[kind][name] for kind in ('params', 'state')}


def _by_collection(made: Mapping[str, Variables]) -> Variables:
  return {
    kind: {name: variables[kind] for name, variables in made.items()}
    for kind in ('params', 'state')
  }
