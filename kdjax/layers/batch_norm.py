"""Batch norm with PyTorch's running statistics, and its folded form."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

# Collection of the markers that `kdjax.models.folding` leaves, and the name of
# a layer's marker in it.
FOLDED, MARKER = 'folded', 'marker'

_VARIABLES = (
  ('params', 'scale'),
  ('params', 'bias'),
  ('batch_stats', 'mean'),
  ('batch_stats', 'var'),
)


def is_folded(layer: nn.Module) -> bool:
  """Returns whether a layer's variables are marked as folded.

  A marked batch norm is the identity, and a marked convolution or linear layer
  has a bias, regardless of its `use_bias`.

  Args:
    layer: A module that is being applied.
  """
  return layer.has_variable(FOLDED, MARKER)


class BatchNorm(nn.Module):
  r"""Batch normalization of each channel over all other axes.

  In training :math:`y = \gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta`
  with the mean and the biased variance of the batch; the running statistics
  become :math:`(1 - m)\,r + m\,b`, where :math:`b` is the batch's mean or its
  unbiased variance, :math:`n / (n - 1)` times the biased one. That is PyTorch's
  rule, which Flax's own layer does not follow. In evaluation the running
  statistics replace those of the batch.

  Under `jit` the batch is the global one, however it is sharded. Statistics are
  float32 (float64 for float64 inputs) for every dtype.

  Variables that `fold_batch_norm` has folded carry a marker for this layer
  (`is_folded`), which makes it the identity.

  Ioffe and Szegedy, `Batch normalization
  <https://arxiv.org/abs/1502.03167>`_, 2015.

  Attributes:
    epsilon: Added to the variance.
    momentum: Weight :math:`m` of the batch in the running statistics.
    scale_init: Initializer of the scale :math:`\gamma`.
    dtype: Dtype of the result.
  """

  epsilon: float = 1e-5
  momentum: float = 0.1
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Normalizes the last axis of `x`.

    Args:
      x: `[..., C]`.
      train: Whether to normalize with the batch and update the running
        statistics.

    Returns:
      `[..., C]`.

    Raises:
      ValueError: If variables of the layer are missing, or if it is folded and
        `train` is set.
    """
    if is_folded(self):
      self._check_evaluation(train)
      return x.astype(self.dtype)
    self._check_complete()
    shape = x.shape[-1:]
    scale = self.param('scale', self.scale_init, shape, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, shape, jnp.float32)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, shape)
    running_var = self.variable('batch_stats', 'var', jnp.ones, shape)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, var = running_mean.value, running_var.value
    if train:
      mean, var = moments(x)
      count = x.size // x.shape[-1]
      unbiased = var * (count / max(count - 1, 1))
      if not self.is_initializing():
        self._update(running_mean, mean)
        self._update(running_var, unbiased)
    # One product and one sum: the gradient with respect to the factor is a sum
    # of the inputs themselves. A product with x - mean would keep a copy of the
    # centered inputs until the backward pass.
    factor = jax.lax.rsqrt(var + self.epsilon) * scale
    x = x * factor + (bias - mean * factor)
    return x.astype(self.dtype)

  def _check_evaluation(self, train: bool) -> None:
    if train:
      raise ValueError(
        f'{"/".join(self.path)} is folded into the layer before it; '
        'train with the variables before folding.'
      )

  def _check_complete(self) -> None:
    """Raises where Flax would fill in fresh statistics during training."""
    if self.is_initializing():
      return
    path = '/'.join(self.path)
    missing = [
      '/'.join(filter(None, (collection, path, name)))
      for collection, name in _VARIABLES
      if not self.has_variable(collection, name)
    ]
    if missing:
      raise ValueError(
        f'The variables lack {", ".join(missing)}, which the batch norm '
        f'{path or "layer"} needs: load a complete checkpoint, or initialize '
        'the network.'
      )

  def _update(self, running: nn.Variable, batch: jax.Array) -> None:
    """Moves a running statistic toward that of the batch."""
    mixed = (1 - self.momentum) * running.value + self.momentum * batch
    running.value = mixed.astype(running.value.dtype)


@jax.custom_jvp
def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Computes the mean and the biased variance over all axes but the last.

  Args:
    x: `[..., C]`.

  Returns:
    Mean and variance, `[C]` each.
  """
  axes = tuple(range(x.ndim - 1))
  mean = x.mean(axes)
  return mean, jnp.square(x - mean).mean(axes)


@moments.defjvp
def _moments_jvp(primals, tangents):
  """The variance does not depend on the mean to first order."""
  (x,), (dx,) = primals, tangents
  axes = tuple(range(x.ndim - 1))
  mean, var = moments(x)
  return (mean, var), (dx.mean(axes), 2 * ((x - mean) * dx).mean(axes))
