"""Batch norm of a frozen teacher, folded into the layers before it."""

from typing import Literal

import jax

from kdjax.methods import Method
from kdjax.network import Network
from kdjax.typing import PyTree

FoldUse = Literal['auto', 'always', 'never']


def inference_variables(
  network: Network,
  variables: PyTree,
  image_shape: tuple[int, ...],
  *,
  use: FoldUse,
  method: Method,
) -> PyTree:
  """Returns the teacher's variables for the steps of a method.

  Batch norm is folded into the layers before it, except where the method has
  the teacher normalize with the batch and, by `auto`, on a CPU: there the
  compiler computes a norm together with the activation after it, and nothing is
  saved (docs/benchmarks.md).

  Args:
    network: The teacher.
    variables: Its variables.
    image_shape: Height, width and channels.
    use: When to fold.
    method: The method.
  """
  on_cpu = jax.default_backend() == 'cpu'
  if use == 'never' or (use == 'auto' and on_cpu):
    return variables
  if method.teacher_mode == 'train':
    return variables
  return network.folded(variables, image_shape)
