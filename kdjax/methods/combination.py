"""Several methods at once: their terms side by side."""

import dataclasses
from collections.abc import Mapping

import jax

from kdjax.methods.base import Method, TrainedPart, Updates

_PARTS: tuple[TrainedPart, ...] = ('none', 'body', 'all')


class Combination(Method):
  """Base of what `combine` makes: one field per method."""

  def parts(self) -> dict[str, Method]:
    """The methods by name."""
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if isinstance(getattr(self, field.name), Method)
    }

  @property
  def teacher_mode(self):
    """Training mode as soon as one of the methods asks for it."""
    modes = {part.teacher_mode for part in self.parts().values()}
    return 'train' if 'train' in modes else 'eval'

  @property
  def teacher_reads(self):
    """All of the teacher as soon as one of the methods asks for it."""
    read = {part.teacher_reads for part in self.parts().values()}
    return 'features' if 'features' in read else 'outputs'

  def init(self, key, student, teacher):
    """The variables of each, by its name."""
    made = {
      name: part.init(jax.random.fold_in(key, place), student, teacher)
      for place, (name, part) in enumerate(self.parts().items())
    }
    return _by_collection(made)

  def prepare(self, variables, passes, classifier, key):
    """Each looks at the teacher's features by itself."""
    made = {
      name: part.prepare(
        _of(variables, name),
        passes,
        classifier,
        jax.random.fold_in(key, place),
      )
      for place, (name, part) in enumerate(self.parts().items())
    }
    return _by_collection(made)

  def terms(self, variables, student, teacher, batch, context):
    """The terms of all; a name two methods share is told apart by theirs."""
    terms, states, active = {}, {}, {}
    trained: TrainedPart = 'all'
    for place, (name, part) in enumerate(self.parts().items()):
      own, updates = part.terms(
        _of(variables, name),
        student,
        teacher,
        batch,
        dataclasses.replace(
          context, key=jax.random.fold_in(context.key, place)
        ),
      )
      for term, value in own.items():
        terms[f'{name}.{term}' if term in terms else term] = value
      old = variables['state'][name]
      states[name] = old if updates.state is None else updates.state
      active[name] = True if updates.active is None else updates.active
      trained = _PARTS[
        min(_PARTS.index(trained), _PARTS.index(updates.student))
      ]
    everything = all(mask is True for mask in active.values())
    return terms, Updates(
      state=states, active=None if everything else active, student=trained
    )

  def observe(self, variables, student, teacher, batch):
    """The lines of all; a kind two methods share is told apart by theirs."""
    lines = {}
    for name, part in self.parts().items():
      own = part.observe(_of(variables, name), student, teacher, batch)
      for kind, line in own.items():
        lines[f'{name}.{kind}' if kind in lines else kind] = line
    return lines

  @property
  def observes(self):
    """Whether one of the methods does."""
    return any(part.observes for part in self.parts().values())

  def predicting(self, variables, student, teacher):
    """Through the one method that predicts by parts of its own, if any."""
    for name, part in self.parts().items():
      student = part.predicting(_of(variables, name), student, teacher)
    return student

  @property
  def predicts(self):
    """Whether one of the methods does."""
    return any(part.predicts for part in self.parts().values())

  def export(self, variables, student, with_classifier):
    """By the one method that predicts by parts of its own, if any."""
    for name, part in self.parts().items():
      student = part.export(_of(variables, name), student, with_classifier)
    return student


def combine(methods: Mapping[str, Method]) -> Method:
  """One method that minimises the terms of several.

  Its fields are the methods, so that `combine({'kd': Kd(), 'kd2m': Kd2m()})`
  is set by `--method.kd.weight` and `--method.kd2m.weight`; each comes with the
  defaults it has beside another. The supervised loss has its own weight, 1: the
  parts' `task_weight` is not read.

  Raises:
    ValueError: If two of them predict through parts of their own.
  """
  predicting = [name for name, method in methods.items() if method.predicts]
  if len(predicting) > 1:
    raise ValueError(
      f'{" and ".join(predicting)} cannot be combined: the student would '
      'predict through the parts of each.'
    )
  fields = [
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


def _of(variables, name):
  return {kind: variables[kind][name] for kind in ('params', 'state')}


def _by_collection(made):
  return {
    kind: {name: variables[kind] for name, variables in made.items()}
    for kind in ('params', 'state')
  }
