"""Files of several steps of the complete objective with a two-layer head."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses, methods, tasks
from kdjax.features import Features, LinearClassifier
from kdjax.methods.base import TrainSpec
from kdjax.methods.linear import apply_linear
from kdjax.methods.lshfm_losses import masked_mean
from kdjax.network import Network
from kdjax.train import Parts, StagedRecipe, init_state, train_step
from tests.golden.comparison import Comparison, Stored, compare, not_compared

_LAYERS = {'embedding': 'feat_fc', 'classifier': 'fc'}
_HYPER = ('rate', 'momentum', 'decay', 'gamma', 'alpha', 'beta', 'temperature')
_PER_EPOCH = 10**6  # more than the number of steps: all are in one epoch
_INPUTS = (
  *('W', 'b', 'x', 'f_t', 'logit_t', 'label', 'hyper'),
  *('feat_fc_weight', 'feat_fc_bias', 'fc_weight', 'fc_bias'),
)


def check(path: pathlib.Path) -> list[Comparison]:
  """Compares the losses before each step and the weights after the last."""
  stored = Stored.read(path)
  results = []
  exact = jnp.result_type(float) == jnp.float64
  for prefix, dtype in (('f32_', np.float32), ('f64_', np.float64)):
    if prefix == 'f64_' and not exact:
      continue
    tolerance = 2e-5 if prefix == 'f32_' else 1e-10
    for name, got in _Steps(stored, dtype).answers().items():
      key = prefix + name
      results.append(compare(key, got, stored[key], tolerance))
  rest = {k: v for k, v in stored.items() if exact or k[:4] != 'f64_'}
  return results + not_compared(rest, results, _INPUTS)


class _Steps:
  """The steps of one file in one precision.

  An image consists of the student's embedding, the teacher's embedding and the
  teacher's logits, concatenated; the networks return their part of it.
  """

  def __init__(self, stored: Stored, dtype: type):
    self.stored = stored
    self.dtype = dtype
    self.hyper = dict(zip(_HYPER, map(float, stored['hyper'])))
    self.widths = [stored[name].shape[-1] for name in ('x', 'f_t', 'logit_t')]
    multi = stored['label'].ndim == 3
    self.task = tasks.MultiLabel() if multi else tasks.SingleLabel()

  def answers(self) -> dict[str, np.ndarray]:
    """Computes `trace` and `final_...`."""
    trace, state = self._run(self._loss())
    results = {'trace': trace}
    method = state.params['method']
    for layer, name in _LAYERS.items():
      last = method['lshfm'][layer] if 'lshfm' in method else method[layer]
      results[f'final_{name}_weight'] = np.asarray(last['kernel']).T
      results[f'final_{name}_bias'] = np.asarray(last['bias'])
    return results

  def _loss(self) -> str:
    """Infers the loss of the file from the first value of its trace."""
    stored = self.stored
    rows = stored['x'][0] @ stored['feat_fc_weight'].T + stored['feat_fc_bias']
    pair = rows, stored['f_t'][0]
    hashes = losses.lsh(*pair, stored['W'].T, stored['b'])
    values = {
      'lsh': hashes,
      'lshl2': hashes + losses.mean_squared_error(*pair),
    }
    means = {name: value.mean() for name, value in values.items()}
    if isinstance(self.task, tasks.SingleLabel):
      right = np.argmax(stored['logit_t'][0], axis=-1) == stored['label'][0]
      means |= {f'{n}_s': masked_mean(x, right) for n, x in values.items()}
    first = stored['f32_trace'][0, 2]
    return min(means, key=lambda name: abs(means[name] - first))

  def _run(self, loss: str):
    hyper = self.hyper
    parts = self._parts(self._method(loss))
    state = self._first_state(parts)
    step = jax.jit(functools.partial(train_step, parts=parts))
    trace = []
    for number in range(len(self.stored['x'])):
      batch = self._batch(number)
      task, soft = self._logit_losses(state, batch)
      state, metrics = step(state, {}, batch)
      mimic = metrics['terms/lshfm'] / hyper['beta']
      trace.append([task, soft, mimic, metrics['loss']])
    return np.asarray(trace, np.float64), state

  def _method(self, loss: str):
    hyper, stored = self.hyper, self.stored
    made = methods.Lshfm(
      weight=hyper['beta'],
      loss=loss,
      hashes=len(stored['W']),
      spread=1.0,
      head='2fc',
      task_weight=hyper['gamma'],
    )
    if not hyper['alpha']:
      return made
    soft = methods.Kd(weight=hyper['alpha'], temperature=hyper['temperature'])
    both = methods.combine({'kd': soft, 'lshfm': made})
    return dataclasses.replace(both, kd=soft, task_weight=hyper['gamma'])

  def _parts(self, method) -> Parts:
    recipe = StagedRecipe(
      learning_rate=self.hyper['rate'],
      momentum=self.hyper['momentum'],
      weight_decay=self.hyper['decay'],
      every_step=False,
      # Files without a task loss are the first of two stages.
      align_epochs=0 if self.hyper['gamma'] else 1,
      align_factor=1.0,
    )
    student, method = self._network('student', 0), recipe.staged(method)
    return Parts(
      student=student,
      teacher=self._network('teacher', 1),
      method=method,
      task=self.task,
      augment=lambda key, batch: batch,
      optimizer=recipe.optimizer(_PER_EPOCH, student, method),
      steps_per_epoch=_PER_EPOCH,
    )

  def _network(self, name: str, side: int) -> Network:
    """Returns a network whose embeddings and logits are columns of images."""
    ends = np.cumsum(self.widths)
    start, stop = ends[side] - self.widths[side], ends[side]

    def init(key, images):
      zeros = jnp.zeros((self.widths[side], self.widths[2]), self.dtype)
      return {'params': {'head': zeros}, 'batch_stats': {}}

    def forward(variables, images, train):
      rows = images[:, start:stop]
      own = rows @ variables['params']['head'] if side == 0 else 0
      logits = images[:, ends[1] : ends[2]] if side == 1 else own
      return Features((), (), (), rows, logits), {}

    def read(variables):
      kernel = variables['params']['head']
      return LinearClassifier(kernel, jnp.zeros(kernel.shape[1]))

    def write(variables, classifier):
      return {**variables, 'params': {'head': classifier.kernel}}

    return Network(
      name=name,
      init=init,
      forward=forward,
      forward_head=lambda variables, rows: rows @ variables['params']['head'],
      read_classifier=read,
      write_classifier=write,
    )

  def _first_state(self, parts):
    stored = self.stored
    key, shape = jax.random.key(0), (sum(self.widths),)
    empty = {'params': {}, 'batch_stats': {}}
    data = TrainSpec(1, np.zeros(1, np.int32), self.widths[2])
    state = init_state(parts, key, shape, 1, empty, data)
    planes = {'kernel': stored['W'].T, 'bias': stored['b']}
    layers = {
      layer: {
        'kernel': stored[f'{name}_weight'].T,
        'bias': stored[f'{name}_bias'],
      }
      for layer, name in _LAYERS.items()
    }
    if 'lshfm' in state.params['method']:  # of a combination
      planes, layers = ({'kd': {}, 'lshfm': x} for x in (planes, layers))
    planes, layers = jax.tree.map(
      lambda array: jnp.asarray(array, self.dtype), (planes, layers)
    )
    params = {**state.params, 'method': layers}
    return dataclasses.replace(
      state,
      params=params,
      method_state=planes,
      opt_state=parts.optimizer.init(params),
    )

  def _batch(self, number: int):
    stored = self.stored
    columns = [stored[name][number] for name in ('x', 'f_t', 'logit_t')]
    image = np.concatenate(columns, axis=-1).astype(self.dtype)
    label = stored['label'][number]
    if isinstance(self.task, tasks.SingleLabel):
      label = label.astype(np.int32)
    return {'image': image, 'label': label, 'index': np.arange(len(label))}

  def _logit_losses(self, state, batch):
    """Computes the task loss and, for single labels, the soft-target loss."""
    layers = state.params['method']
    layers = layers.get('lshfm', layers)
    rows = apply_linear(
      layers['embedding'], jnp.asarray(batch['image'][:, : self.widths[0]])
    )
    logits = apply_linear(layers['classifier'], rows)
    features = Features((), (), (), rows, logits)
    task = self.task.loss(features, batch).mean()
    if isinstance(self.task, tasks.MultiLabel):
      return task, 0.0
    teacher = batch['image'][:, -self.widths[2] :]
    soft = losses.soft_target_kl(
      logits, teacher, temperature=self.hyper['temperature']
    )
    return task, soft.mean()
