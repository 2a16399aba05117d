"""LSHFM: the student's embedding mimics the teacher's, by hashes."""

# pyright: reportUnknownMemberType=false

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.features import LinearClassifier, NetworkSpec
from kdjax.losses import numerics
from kdjax.methods import lshfm_head
from kdjax.methods.base import Context, Method, TrainSpec, Updates, Walk
from kdjax.methods.linear import apply_linear
from kdjax.methods.lshfm_bias import GIB, Bias, classifier_std, fit_bias
from kdjax.methods.lshfm_losses import (
  FEATURE_LOSSES,
  HASH_LOSSES,
  feature_loss,
  is_correct,
  masked_mean,
  uses_hashes,
)
from kdjax.methods.passes import Pass
from kdjax.methods.schedules import Weight, check_weight, value_at
from kdjax.methods.settings import check_choice, check_positive
from kdjax.network import Network
from kdjax.typing import Batch, PyTree, Terms, Variables

_CHOICES = {
  'loss': tuple(name + kept for kept in ('', '_s') for name in FEATURE_LOSSES),
  'hash_loss': tuple(HASH_LOSSES),
  'bias': ('zero', 'mean', 'median'),
  'head': ('auto', '1fc', '2fc'),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lshfm(Method):
  r"""Feature mimicking with locality-sensitive hashes.

  With hashes :math:`h = f W + b` of an embedding with respect to random
  hyperplanes, the student predicts the signs of the teacher's hashes. The loss
  is

  .. math::
    \beta \, \frac1n \sum_i \Bigl(
      \frac1N \sum_j \mathrm{BCE}(h^s_{ij}, [h^t_{ij} > 0])
      + \frac1D \lVert f^s_i - f^t_i \rVert^2 \Bigr) .

  Wang, Ge and Wu, Distilling Knowledge by Mimicking Features, 2021,
  https://arxiv.org/abs/2011.01424; see docs/lshfm.md. The defaults are those
  for CIFAR-100. The hyperplanes are drawn once and are part of the state.

  Attributes:
    weight: Weight β of the feature loss: a number, or pairs of an epoch, from
      0, and the value from that epoch on.
    loss: Loss between embeddings: `l1` or `l2` for the mean absolute or squared
      difference, `lsh` for the hashes, `lshl2` for `lsh` plus `l2`. With a
      trailing `_s` it is the mean over the images that the teacher classifies
      correctly only, and 0 if there are none.
    hash_loss: Loss between hashes: `bce` for the cross-entropy with the signs
      of the teacher's hashes, `l1` or `l2` for the mean absolute or squared
      difference.
    hashes: Number N of hashes (default: 32 times the width of the teacher's
      embedding).
    spread: Standard deviation of the entries of W (default: that of the weights
      of the teacher's classifier).
    bias: Offset b of the hyperplanes: `zero`, or minus the `mean` or lower
      `median` of the hashes of the training images.
    memory: Host memory in bytes that the fit of the bias may use.
    head: `2fc` replaces the student's classifier by a linear layer to the
      teacher's width, whose output is compared, and a classifier; they are
      exported as one classifier. `1fc` keeps it, and `auto` is `2fc` if the
      widths differ.
    embedding_spread: Standard deviation of the kernel of the first of the two
      layers, whose bias is zero then (default: a uniform kernel and bias as in
      PyTorch).
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

  teacher_reads = 'outputs'

  def __post_init__(self):
    """Checks the settings."""
    super().__post_init__()
    check_weight('Lshfm', 'weight', self.weight)
    for name, known in _CHOICES.items():
      check_choice(self, name, known)
    check_positive(self, 'memory')
    for name in ('hashes', 'spread', 'embedding_spread'):
      if getattr(self, name) is not None:
        check_positive(self, name)

  def init(
    self,
    key: jax.Array,
    student: NetworkSpec,
    teacher: NetworkSpec,
    data: TrainSpec,
  ) -> Variables:
    """Returns the hyperplanes and the two layers of a `2fc` head."""
    del data
    hash_key, *layer_keys = jax.random.split(key, 3)
    self._check_teacher(teacher)
    state: dict[str, jax.Array] = {}
    if uses_hashes(self.loss):
      width = teacher.features.embedding.shape[-1]
      count = self.hashes or 32 * width
      # `prepare` scales them where the standard deviation is the teacher's.
      std = 1.0 if self.spread is None else self.spread
      kernel = losses.draw_hashes(hash_key, width, count, std)
      state = {'kernel': kernel, 'bias': jnp.zeros(count)}
    if not self._has_two_layers(student, teacher):
      lshfm_head.check_one_layer(student, teacher)
      return {'params': {}, 'state': state}
    lshfm_head.check_two_layers(student)
    layers = lshfm_head.init_two_layers(
      (layer_keys[0], layer_keys[1]), student, teacher, self.embedding_spread
    )
    return {'params': layers, 'state': state}

  def prepare(
    self,
    variables: Variables,
    walk: Walk,
    classifier: LinearClassifier | None,
    key: jax.Array,
  ) -> Variables:
    """Returns scaled and centered hyperplanes; see `Method.prepare`."""
    del key
    if not uses_hashes(self.loss):
      return variables
    kernel = variables['state']['kernel']
    if self.spread is None:
      assert classifier is not None  # checked by `init`
      kernel = kernel * classifier_std(classifier.kernel)
    bias = fit_bias(
      kernel,
      lambda: walk(lambda features, batch: features.embedding),
      self.bias,
      memory=self.memory,
    )
    return {**variables, 'state': {'kernel': kernel, 'bias': jnp.array(bias)}}

  def terms(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    batch: Batch,
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Computes `lshfm`, the weighted mean over images; see `Method.terms`."""
    layers = variables['params']
    # Once, so that the gradients of both losses are added in float32.
    embedding = numerics.full_precision(student.features.embedding)
    if layers:
      embedding = apply_linear(layers['embedding'], embedding)
    values = feature_loss(
      self.loss,
      self.hash_loss,
      variables['state'],
      embedding,
      jax.lax.stop_gradient(teacher.features.embedding),
    )
    if self.loss.endswith('_s'):
      mean = masked_mean(values, is_correct(teacher.features.logits, batch))
    else:
      mean = values.mean()
    term = value_at(self.weight, context.epoch) * mean
    # With two layers the student's own classifier is not used.
    return {'lshfm': term}, Updates(student='body' if layers else 'all')

  def predicting(
    self, variables: Variables, student: Pass, teacher: Pass | None
  ) -> tuple[Pass, PyTree]:
    """Predicts through both layers of a `2fc` head; see `Method.predicting`."""
    del teacher
    layers = variables['params']
    if not layers:
      return student, None
    return student.with_head(lambda x: lshfm_head.classify(layers, x)), None

  def export(
    self,
    variables: Variables,
    student: tuple[Network, PyTree],
    teacher: tuple[Network, PyTree] | None,
  ) -> tuple[Network, PyTree]:
    """Returns the student with both layers as its one linear classifier."""
    del teacher
    if not variables['params']:
      return student
    network, own = student
    merged = lshfm_head.merged(variables['params'])
    return network, network.with_classifier(own, merged)

  def _has_two_layers(self, student: NetworkSpec, teacher: NetworkSpec) -> bool:
    if self.head != 'auto':
      return self.head == '2fc'
    widths = {
      network.features.embedding.shape[-1] for network in (student, teacher)
    }
    return len(widths) > 1

  def _check_teacher(self, teacher: NetworkSpec) -> None:
    needs_std = uses_hashes(self.loss) and self.spread is None
    if needs_std and teacher.classifier is None:
      raise ValueError(
        'lshfm draws its hyperplanes with the standard deviation of the '
        f'weights of the linear classifier of the teacher, and {teacher.name} '
        'has none or does not declare it. Give --method.spread (in a '
        'combination: --method.lshfm.spread). PyTorch initializes a classifier '
        'of width D with 1 / sqrt(3 D).'
      )
    if self.loss.endswith('_s') and not teacher.has_head:
      plain = self.loss.removesuffix('_s')
      raise ValueError(
        f'lshfm with loss={self.loss} needs the images that {teacher.name} '
        'classifies correctly, and it has no classifier. Give '
        f'--method.loss={plain}.'
      )
