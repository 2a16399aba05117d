"""`fcfd`: complete steps with given paths."""

import functools
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.methods import Context, Fcfd, fcfd
from kdjax.methods.fcfd_paths import candidates, draw
from kdjax.methods.fcfd_step import Step
from kdjax.tasks import SingleLabel
from kdjax.train.forward import evaluation_pass, make_pass
from tests.golden.comparison import Comparison, Stored, compare, not_compared
from tests.golden.kinds import fcfd_networks
from tests.methods import support

PyTree = Any

# Tolerances of float64 results, and of the file's float32 results against ours
# in float64, as the golden files' README states them.
_EXACT = 1e-6
_FLOAT32 = {'loss': 1e-6, 'logits': 2e-5, 'grad': 2e-3, 'buffers_after': 1e-5}
# The gradient of a bias before a norm is only rounding; the floor is relative
# to the largest gradient.
_FLOORS = {True: 1e-8, False: 1e-3}
_DIRECTIONS = {'to_teacher': (0, 1), 'to_student': (1, 0)}
INPUTS = ('images', 'labels', 'meta/', 'state/')


class Case:
  """A file's networks, bridges, batch and settings, in float64."""

  def __init__(self, stored: Stored, images: str = 'images'):
    self.stored = stored
    _, channels, height, width = stored[images].shape
    shape = (height, width, channels)
    self.shape = shape
    self.teacher, self.teacher_variables, teacher_names = fcfd_networks.read(
      stored, 0, shape
    )
    self.student, self.student_variables, student_names = fcfd_networks.read(
      stored, 1, shape
    )
    self.names = (teacher_names, student_names)
    self.bridges = self._bridges()

  def method(self, combo: str | None, count: int = 0) -> Fcfd:
    """Returns FCFD with the given paths, or with `count` random ones."""
    paths = () if combo in (None, 'none') else tuple(combo.split('+'))
    return Fcfd(
      feature_weight=float(self.stored['meta/weight_l2']),
      mixed_weight=float(self.stored['meta/weight_kl_mixture']),
      temperature=float(self.stored['meta/T']),
      paths=paths,
      extra_paths=len(paths) or count,
    )

  def batch(self, prefix: str = '') -> dict[str, jax.Array]:
    """Returns images `[B, H, W, C]`, labels and indices."""
    images = self.stored[f'{prefix}images'].transpose(0, 2, 3, 1)
    labels = self.stored[f'{prefix}labels'].astype(np.int32)
    return {
      'image': jnp.asarray(images, jnp.float64),
      'label': jnp.asarray(labels),
      'index': jnp.arange(len(labels)),
    }

  @property
  def stages(self) -> int:
    """Number of stages of both networks."""
    return len(self.teacher.describe(self.shape).features.boundaries)

  def arrays(self) -> PyTree:
    """Returns all arrays that a step needs."""
    return {
      'student': self.student_variables,
      'teacher': self.teacher_variables,
      'bridges': self.bridges,
      'batch': self.batch(),
    }

  def named(self, student: PyTree, bridges: PyTree) -> dict[str, np.ndarray]:
    """Returns trained parameters or gradients by the file's names."""
    return {**self.names[1].of({'params': student}), **_bridge_arrays(bridges)}

  def buffers(self, teacher, student, bridges) -> dict[str, np.ndarray]:
    """Returns all running statistics by the file's names."""
    return {
      **self.names[0].of({'batch_stats': teacher}),
      **self.names[1].of({'batch_stats': student}),
      **_bridge_arrays(bridges),
    }

  def _bridges(self) -> PyTree:
    made = Fcfd(directions='nomix').init(
      jax.random.key(0),
      self.student.describe(self.shape),
      self.teacher.describe(self.shape),
      support.DATA,
    )
    return {
      kind: _read_bridges(tree, self.stored) for kind, tree in made.items()
    }


def full_step(stored: Stored) -> list[Comparison]:
  """Compares features, logits, terms and gradients for each choice of paths."""
  case = Case(stored)
  features, logits = jax.jit(functools.partial(walk, case))(case.arrays())
  terms = jax.jit(functools.partial(all_terms, case))(case.arrays())
  results = _constants(case) + _features(stored, features)
  steps = _steps(case)
  last = list(steps)[-1]
  for combo, step in steps.items():
    chosen = [] if combo == 'none' else combo.split('+')
    got = {
      **{f'loss/{name}': v for name, v in terms_of(terms, chosen).items()},
      **{f'logits/{name}': logits[name] for name in ('t', 's', *chosen)},
      **step,
      # Under the name of its first step, too, the file has the buffers after
      # the last step, including those of bridges that only the last step uses.
      'buffers_after': steps[last]['buffers_after'],
    }
    for dtype in ('float32', 'float64'):
      if f'{dtype}/{combo}/loss/total' in stored:
        results += _compare_all(stored, f'{dtype}/{combo}', got)
  return results + not_compared(stored, results, INPUTS)


def all_terms(case: Case, arrays: PyTree) -> dict[str, jax.Array]:
  """Computes the unweighted terms of all paths by `Fcfd.terms`.

  Args:
    case: The file.
    arrays: `Case.arrays`.

  Returns:
    Scalars by the file's names: `mse/...`, `mse_pooled/...`, `kl/...`, `ce/s`.
  """
  batch, recorded = arrays['batch'], {}
  student, _ = _training_pass(case.student, arrays['student'], batch['image'])
  teacher, _ = _training_pass(case.teacher, arrays['teacher'], batch['image'])
  method = case.method('+'.join(p.name for p in candidates(case.stages, 'bi')))
  context = Context(
    step=jnp.int32(0), epoch=jnp.float64(0), key=jax.random.key(0)
  )
  with mock.patch.object(fcfd, 'Step', _recording(recorded)):
    method.terms(arrays['bridges'], student, teacher, batch, context)
  recorded['ce/s'] = SingleLabel().loss(student.features, batch).mean()
  return recorded


def terms_of(
  recorded: dict[str, jax.Array], chosen: list[str]
) -> dict[str, Any]:
  """Selects the terms of a step with some paths, and adds those of each stage.

  Args:
    recorded: Terms of all paths; see `all_terms`.
    chosen: Names of the paths.
  """
  terms = {'ce/s': recorded['ce/s']}
  for name, value in recorded.items():
    kind, *_, path = name.split('/')
    if kind == 'kl' and path.removesuffix('_vs_t') in ('s', *chosen):
      terms[name] = value
    elif kind.startswith('mse'):
      mixed = [p for p in chosen if p.startswith(path) and '0' in path]
      if '0' not in path or mixed:
        terms[name] = value
  for name, value in list(terms.items()):
    if name.startswith('mse'):
      key = f'l2_{name.split("/")[1]}'
      terms[key] = terms.get(key, 0) + value
  return terms


def _recording(recorded: dict[str, jax.Array]) -> type[Step]:
  """Returns a `Step` that records distances and divergences by file key."""

  class Recording(Step):
    path = 's'  # the current one; the student's own before the first

    def appearance(self, translated):
      self.path = '1' * self.stages
      return super().appearance(translated)

    def into_teacher(self, path, chosen, translated):
      self.path = path.name
      return super().into_teacher(path, chosen, translated)

    def into_student(self, path, chosen):
      self.path = path.name
      return super().into_student(path, chosen)

    def divergence(self, logits, temperature):
      value = super().divergence(logits, temperature)
      recorded[f'kl/{self.path}_vs_t'] = value
      return value

    def _distance(self, features, stage):
      value = super()._distance(features, stage)
      recorded[f'mse/stage{stage}/{self.path[: stage + 1]}'] = value
      return value

    def _embedding_distance(self, features):
      value = super()._embedding_distance(features)
      recorded[f'mse_pooled/stage{self.stages - 1}/{self.path}'] = value
      return value

  return Recording


def walk(case: Case, arrays: PyTree):
  """Computes features and logits of all paths.

  Args:
    case: The file.
    arrays: `Case.arrays`.

  Returns:
    Feature maps by stage, space (0: the teacher's) and path prefix; logits by
    path, where `t` and `s` are those of teacher and student.
  """
  batch = arrays['batch']
  passes = {
    '0': _training_pass(case.teacher, arrays['teacher'], batch['image'])[0],
    '1': _training_pass(case.student, arrays['student'], batch['image'])[0],
  }
  step = Step(arrays['bridges'], passes['1'], passes['0'], {}, temperature=1.0)
  features = {
    (i, space, digit * (i + 1)): passes[digit].features.boundaries[i]
    for i in range(1, step.stages)
    for space, digit in enumerate('01')
  }
  logits = {
    name: passes[digit].features.logits for name, digit in zip('ts', '01')
  }
  for i, value in enumerate(step.translate()[0][1:], 1):
    features[i, 0, '1' * (i + 1)] = value
  for path in candidates(step.stages, 'bi'):
    name, split = path.name, path.split
    before = name[: split + 1]
    hidden = features[split, 0, before]
    if not path.to_teacher:
      params = step.params['to_student'][f'stage_{split}']
      hidden, _ = step.bridge(split, False, params, hidden)
      features[split, 1, before] = hidden
    space = int(not path.to_teacher)
    tail = passes[name[-1]].tail(hidden, split + 1)
    for i in range(split + 1, step.stages):
      features[i, space, name[: i + 1]] = tail.boundaries[i]
    logits[name] = tail.logits
  return features, logits


def _steps(case: Case) -> dict[str, dict[str, Any]]:
  """Computes the method's total, gradients and statistics for given paths.

  As in training, a random key selects the paths; the key is searched for. This
  compares the training program with its branches, and compiles it once for
  all choices with the same number of paths.
  """
  sets = {
    combo: () if combo == 'none' else tuple(combo.split('+'))
    for combo in map(str, case.stored['meta/combos'])
  }
  results = {}
  for count in {len(chosen) for chosen in sets.values()}:
    run = jax.jit(functools.partial(_step, case, case.method(None, count)))
    for combo, chosen in sets.items():
      if len(chosen) == count:
        out = run(_key_that_draws(case, chosen), case.arrays())
        results[combo] = _named_results(case, *jax.device_get(out))
  return {combo: results[combo] for combo in sets}


def _key_that_draws(case: Case, chosen: tuple[str, ...]) -> jax.Array:
  paths = candidates(case.stages, 'bi')
  keys = jax.random.split(jax.random.key(0), 500)
  if not chosen:
    return keys[0]
  drawn = jax.vmap(lambda key: list(draw(key, paths, len(chosen)).values()))(
    keys
  )
  wanted = [path.name in chosen for path in paths]
  hits = np.all(np.stack(drawn, 1) == wanted, axis=1)
  return keys[int(np.argmax(hits))]


def _step(case: Case, method: Fcfd, key: jax.Array, arrays: PyTree):
  batch, given = arrays['batch'], arrays['student']
  context = Context(
    step=jnp.int32(0),
    epoch=jnp.asarray(case.stored['meta/epoch'], jnp.float64),
    key=key,
  )
  teacher, teacher_stats = _training_pass(
    case.teacher, arrays['teacher'], batch['image']
  )

  def objective(params):
    variables = {**given, 'params': params['student']}
    student, stats = _training_pass(case.student, variables, batch['image'])
    terms, updates = method.terms(
      {'params': params['bridges'], 'state': arrays['bridges']['state']},
      student,
      teacher,
      batch,
      context,
    )
    task = losses.cross_entropy(student.features.logits, batch['label']).mean()
    return task + sum(terms.values()), (stats, updates)

  params = {
    'student': given['params'],
    'bridges': arrays['bridges']['params'],
  }
  (total, (stats, updates)), gradients = jax.value_and_grad(
    objective, has_aux=True
  )(params)
  return total, gradients, teacher_stats, stats, updates


def _named_results(case, total, gradients, teacher_stats, stats, updates):
  """Returns the results of a step by the file's names."""
  arrays = case.named(gradients['student'], gradients['bridges'])
  ones = jax.tree.map(np.ones_like, gradients['student'])
  active = case.named(ones, _broadcast(updates.active, gradients['bridges']))
  return {
    'loss/total': total,
    'grad': {name: arrays[name] for name in arrays if np.all(active[name])},
    'grad/none': sorted(name for name in arrays if not np.all(active[name])),
    'buffers_after': case.buffers(teacher_stats, stats, updates.state),
  }


def _compare_all(stored, prefix: str, got: dict[str, Any]) -> list[Comparison]:
  """Compares the results stored under a prefix with those in float64."""
  exact = prefix.startswith('float64')
  results = []
  for name, value in got.items():
    key = f'{prefix}/{name}'
    tolerance = _EXACT if exact else _FLOAT32[name.split('/')[0]]
    # Float32 errors of a term are relative to the total.
    total = None if exact else float(stored[f'{prefix}/loss/total'])
    if name == 'grad':
      results += _gradients(stored, key, value, tolerance)
    elif name == 'grad/none':
      same = value == sorted(stored[key].tolist())
      results.append(Comparison(key, 0.0 if same else np.inf, 0.0))
    elif name == 'buffers_after':
      results += [
        compare(f'{key}/{buffer}', array, stored[f'{key}/{buffer}'], tolerance)
        for buffer, array in value.items()
        if f'{key}/{buffer}' in stored
      ]
    elif key in stored:
      scale = total if name.startswith('loss/') else None
      results.append(compare(key, value, stored[key], tolerance, scale=scale))
  return results


def _gradients(stored, key, arrays, tolerance) -> list[Comparison]:
  """Compares each gradient's norm and projection, relative to its norm."""
  names = stored[f'{key}/names'].tolist()
  same = sorted(names) == sorted(arrays)
  results = [Comparison(f'{key}/names', 0.0 if same else np.inf, 0.0)]
  if not same:
    return results
  flat = [np.asarray(arrays[name], np.float64).ravel() for name in names]
  norms = np.asarray([np.linalg.norm(array) for array in flat])
  dots = np.asarray([array @ np.cos(np.arange(array.size)) for array in flat])
  exact = tolerance == _EXACT
  largest = stored[f'{key}/norms'].max()
  size = np.maximum(stored[f'{key}/norms'], _FLOORS[exact] * largest)
  sizes = {'norms': size, 'dots': size}
  if not exact:
    # A ReLU with an input near zero may change the gradient in any direction:
    # the projection changes by up to this times the norm of the cosines.
    sizes['dots'] = size * [np.sqrt(array.size / 2 + 1) for array in flat]
  for name, value in (('norms', norms), ('dots', dots)):
    want = stored[f'{key}/{name}'] / sizes[name]
    results.append(
      compare(f'{key}/{name}', value / sizes[name], want, tolerance, scale=1.0)
    )
  return results


def _constants(case: Case) -> list[Comparison]:
  """Compares candidate paths, warm-up and logits in evaluation mode."""
  stored = case.stored
  stages = len(str(stored['meta/candidates'][0]))
  names = [path.name for path in candidates(stages, 'bi')]
  same = names == stored['meta/candidates'].tolist()
  results = [Comparison('meta/candidates', 0.0 if same else np.inf, 0.0)]
  weights = case.method('none').weights(float(stored['meta/epoch']))
  warm = weights['features'] / float(stored['meta/weight_l2'])
  results.append(compare('meta/warm', warm, stored['meta/warm'], _EXACT))
  images = case.batch()['image']
  for name, network, variables in (
    ('t', case.teacher, case.teacher_variables),
    ('s', case.student, case.student_variables),
  ):
    key = f'eval/logits/{name}'
    logits = evaluation_pass(network, variables, images).features.logits
    if key in stored:
      results.append(compare(key, logits, stored[key], _FLOAT32['logits']))
  return results


def _features(stored, features) -> list[Comparison]:
  """Compares the stored summaries of each feature, which are in float32."""
  results = []
  for (stage, space, path), value in features.items():
    key = f'feat/stage{stage}/space{space}/{path}'
    value = np.asarray(value)
    summaries = {
      'first1': value[:1].transpose(0, 3, 1, 2),
      'mean_nhw': value.mean((0, 1, 2)),
      'rms_nhw': np.sqrt((value**2).mean((0, 1, 2))),
    }
    for name, got in summaries.items():
      if f'{key}/{name}' in stored:
        want = stored[f'{key}/{name}']
        results.append(
          compare(f'{key}/{name}', got.reshape(want.shape), want, 1e-4)
        )
  return results


def _training_pass(network, variables, images):
  """Returns the pass in training mode and the updated statistics."""
  features, stats = network.apply(variables, images, train=True)
  return make_pass(network, variables, features, train=True), stats


def _broadcast(prefix: PyTree, tree: PyTree) -> PyTree:
  return jax.tree.map(
    lambda on, below: jax.tree.map(lambda x: jnp.full_like(x, on), below),
    prefix,
    tree,
  )


_LEAVES = (
  ('conv', 'kernel', '0.weight'),
  ('conv', 'bias', '0.bias'),
  ('norm', 'scale', '1.weight'),
  ('norm', 'bias', '1.bias'),
  ('norm', 'mean', '1.running_mean'),
  ('norm', 'var', '1.running_var'),
)


def _leaves(tree: PyTree):
  """Yields direction, stage, layer and leaf of each bridge array, and name."""
  for way, (destination, source) in _DIRECTIONS.items():
    for stage, bridge in tree[way].items():
      number = stage.removeprefix('stage_')
      for layer, leaf, name in _LEAVES:
        if leaf in bridge.get(layer, {}):
          full = f'bridges.{number}.{destination}.{source}.{name}'
          yield (way, stage, layer, leaf), full


def _bridge_arrays(tree: PyTree) -> dict[str, np.ndarray]:
  """Returns bridge arrays by the file's names, in PyTorch's layout."""
  results = {}
  for (way, stage, layer, leaf), name in _leaves(tree):
    array = np.asarray(tree[way][stage][layer][leaf])
    results[name] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
  return results


def _read_bridges(tree: PyTree, stored: Stored) -> PyTree:
  """Returns bridges with the structure of `tree` and the file's arrays."""
  made = jax.tree.map(lambda leaf: leaf, tree)
  for (way, stage, layer, leaf), name in _leaves(tree):
    array = stored[f'state/{name}'].astype(np.float64)
    if array.ndim == 4:
      array = array.transpose(2, 3, 1, 0)
    made[way][stage][layer][leaf] = jnp.asarray(array)
  return made
