"""LSHFM: the student's embedding mimics the teacher's, bit by bit."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.features import LinearClassifier, NetworkSpec
from kdjax.methods import base
from kdjax.methods.linear import apply_linear, init_linear, merge_linear
from kdjax.methods.lshfm_bias import GIB, Bias, classifier_spread, fit_bias
from kdjax.methods.schedules import Weight, check_weight, value_at

_FEATURE_LOSSES = {
  'l1': (losses.mean_absolute_error, False),
  'l2': (losses.mean_squared_error, False),
  'lsh': (None, True),
  'lshl2': (losses.mean_squared_error, True),
}
_HASH_LOSSES = {
  'bce': losses.lsh,
  'l1': losses.lsh_absolute,
  'l2': losses.lsh_squared,
}
_CHOICES = {
  'loss': tuple(name + kept for kept in ('', '_s') for name in _FEATURE_LOSSES),
  'hash_loss': tuple(_HASH_LOSSES),
  'bias': ('zero', 'mean', 'median'),
  'head': ('auto', '1fc', '2fc'),
  'trained': ('all', 'embedding'),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lshfm(base.Method):
  """Feature mimicking with locality-sensitive hashes; see docs/lshfm.md.

  Wang, Ge and Wu, Distilling Knowledge by Mimicking Features, 2021,
  https://arxiv.org/abs/2011.01424. The defaults are those for CIFAR-100. The
  planes are drawn once and are part of the state, so that a resumed run keeps
  them.

  Attributes:
    weight: β, of the feature loss; may be steps by epoch.
    loss: Between embeddings: `l1`, `l2`, `lsh` or `lshl2`, the sum of the two.
      With `_s` at its end only images count whose class the teacher gets right;
      it is 0 where there are none.
    hash_loss: What `lsh` stands for: the cross-entropy with the teacher's bits,
      or the distance of the hashes themselves.
    hashes: N; 32 times the teacher's width without.
    spread: Standard deviation of the planes' entries; that of the teacher's
      classifier without.
    bias: Where the planes lie: through zero, or through the mean or the lower
      median of the training set's hashes.
    memory: Bytes that the fit of the bias may take on the host.
    head: `2fc` puts a linear layer to the teacher's width before a classifier
      of the method's own; the two leave as one. `auto` does where the widths
      differ.
    embedding_spread: Standard deviation of that layer's first kernel, with a
      bias of zero; PyTorch's uniform kernel and bias without.
    trained: `embedding` trains nothing but that layer, as in the first of the
      two stages of the multi-label recipes (with `task_weight` 0).
  """

  weight: Weight = 6.0
  loss: str = 'lshl2_s'
  hash_loss: Literal['bce', 'l1', 'l2'] = 'bce'
  hashes: int | None = None
  spread: float | None = None
  bias: Bias = 'median'
  memory: int = GIB
  head: Literal['auto', '1fc', '2fc'] = 'auto'
  embedding_spread: float | None = None
  trained: Literal['all', 'embedding'] = 'all'

  teacher_reads = 'outputs'

  def __post_init__(self):
    """Checks the settings."""
    super().__post_init__()
    check_weight(type(self).__name__, 'weight', self.weight)
    for name, known in _CHOICES.items():
      base.check_choice(self, name, known)
    base.check_positive(self, 'memory')
    for name in ('hashes', 'spread', 'embedding_spread'):
      if getattr(self, name) is not None:
        base.check_positive(self, name)

  def init(self, key, student, teacher):
    """Planes, and the two layers of a `2fc` head; see `Method.init`."""
    hash_key, embedding_key, classifier_key = jax.random.split(key, 3)
    self._check_teacher(teacher)
    wide = teacher.features.embedding.shape[-1]
    state, params = {}, {}
    if self._uses_hashes:
      count = self.hashes or 32 * wide
      spread = 1.0 if self.spread is None else self.spread  # see `prepare`
      kernel = losses.draw_hashes(hash_key, wide, count, spread)
      state = {'kernel': kernel, 'bias': jnp.zeros(count)}
    if self._has_two_layers(student, teacher):
      narrow = student.features.embedding.shape[-1]
      classes = student.features.logits.shape[-1]
      params = {
        'embedding': self._first_layer(embedding_key, narrow, wide),
        'classifier': init_linear(classifier_key, wide, classes),
      }
    return {'params': params, 'state': state}

  def prepare(self, variables, passes, classifier, key):
    """The planes' spread and bias; see `Method.prepare`."""
    del key
    if not self._uses_hashes:
      return variables
    kernel = variables['state']['kernel']
    if self.spread is None:
      assert classifier is not None  # `init` has asked
      kernel = kernel * classifier_spread(classifier.kernel)
    bias = fit_bias(
      kernel,
      lambda: (features.embedding for features, _ in passes()),
      self.bias,
      memory=self.memory,
    )
    return {**variables, 'state': {'kernel': kernel, 'bias': jnp.array(bias)}}

  def terms(self, variables, student, teacher, batch, context):
    """`lshfm`: weight · loss, the mean over the images that count."""
    layers = variables['params']
    # Once, so that the gradients of both losses add up in float32.
    mimicking = losses.full_precision(student.features.embedding)
    if layers:
      mimicking = apply_linear(layers['embedding'], mimicking)
    values = self._values(
      variables['state'],
      mimicking,
      jax.lax.stop_gradient(teacher.features.embedding),
    )
    value = values.mean()
    if self.loss.endswith('_s'):
      value = mean_over(values, _is_correct(teacher.features.logits, batch))
    term = value_at(self.weight, context.epoch) * value
    return {'lshfm': term}, self._updates(bool(layers))

  def predicting(self, variables, student, teacher):
    """Through both layers of a `2fc` head; see `Method.predicting`."""
    del teacher
    layers = variables['params']
    if not layers:
      return student
    return student.with_head(
      lambda embedding: apply_linear(
        layers['classifier'], apply_linear(layers['embedding'], embedding)
      )
    )

  def export(self, variables, student, with_classifier):
    """Both layers as the one classifier of the student."""
    layers = variables['params']
    if not layers:
      return student
    merged = merge_linear(layers['embedding'], layers['classifier'])
    return with_classifier(student, LinearClassifier(*map(jnp.asarray, merged)))

  @property
  def _uses_hashes(self) -> bool:
    return _FEATURE_LOSSES[self.loss.removesuffix('_s')][1]

  def _values(self, planes, student, teacher) -> jax.Array:
    """The feature loss of each image, `[B]`."""
    of_features, hashed = _FEATURE_LOSSES[self.loss.removesuffix('_s')]
    found = []
    if hashed:
      of_hashes = _HASH_LOSSES[self.hash_loss]
      found.append(
        of_hashes(student, teacher, planes['kernel'], planes['bias'])
      )
    if of_features is not None:
      found.append(of_features(student, teacher))
    return sum(found[1:], found[0])

  def _updates(self, two_layers: bool) -> base.Updates:
    if self.trained == 'embedding':
      active = {'embedding': True, 'classifier': False}
      return base.Updates(active=active, student='none')
    # With two layers the student's own classifier is out of use.
    return base.Updates(student='body' if two_layers else 'all')

  def _has_two_layers(self, student: NetworkSpec, teacher: NetworkSpec) -> bool:
    narrow, wide = (
      network.features.embedding.shape[-1] for network in (student, teacher)
    )
    two = self.head == '2fc' or (self.head == 'auto' and narrow != wide)
    if not two and narrow != wide:
      raise ValueError(
        f'lshfm compares embeddings of one width, but {student.name} has '
        f'{narrow} and {teacher.name} has {wide}. Give --method.head=2fc '
        '(beside another method --method.lshfm.head=2fc) to train a layer '
        'between them.'
      )
    if not two and self.trained == 'embedding':
      raise ValueError(
        'lshfm has no embedding layer to train alone; give --method.head=2fc.'
      )
    if two and student.classifier is None:
      raise ValueError(
        f'{student.name} does not say where its linear classifier is, which '
        'the two layers of lshfm take the place of. Give its module a '
        'classifier_name, or the network read_classifier and write_classifier.'
      )
    return two

  def _first_layer(self, key, narrow: int, wide: int):
    layer = init_linear(key, narrow, wide)
    if self.embedding_spread is None:
      return layer
    kernel = self.embedding_spread * jax.random.normal(key, (narrow, wide))
    return {'kernel': kernel, 'bias': jnp.zeros(wide)}

  def _check_teacher(self, teacher: NetworkSpec) -> None:
    if self._uses_hashes and self.spread is None and teacher.classifier is None:
      raise ValueError(
        'lshfm draws its planes with the spread of the linear classifier of '
        f'the teacher, and {teacher.name} has none, or does not say where. '
        'Give --method.spread (beside another method --method.lshfm.spread): '
        'PyTorch starts a classifier of width D with 1 / sqrt(3 D).'
      )
    if self.loss.endswith('_s') and not teacher.has_head:
      plain = self.loss.removesuffix('_s')
      raise ValueError(
        f'lshfm with loss={self.loss} asks which images {teacher.name} gets '
        f'right, and it has no classifier. Give --method.loss={plain}.'
      )


def _is_correct(logits: jax.Array, batch) -> jax.Array:
  """Bool `[B]`: whether the largest logit is the label's."""
  label = batch['label']
  if label.ndim != 1:
    raise ValueError(
      'The correct-only losses of lshfm need one class per image, got labels '
      f'{label.shape}. Give --method.loss without _s.'
    )
  return jnp.argmax(logits, axis=-1) == label


def mean_over(values: jax.Array, kept: jax.Array) -> jax.Array:
  """The mean of what is kept; 0, with gradient 0, where nothing is."""
  total = jnp.sum(jnp.where(kept, values, 0))
  return total / jnp.maximum(jnp.sum(kept), 1)
