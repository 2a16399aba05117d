"""Groups of a batch: the images that one device would hold."""

import math

import jax

from kdjax.typing import PyTree


def group_count(groups: int, images: int) -> int:
  """Returns the number of groups of equal size, at most `groups`.

  Args:
    groups: Number of groups of a batch that they divide.
    images: Number of images of the batch.
  """
  return math.gcd(groups, images)


def grouped(tree: PyTree, groups: int) -> PyTree:
  """Splits a batch into groups of consecutive images, for `jax.vmap`.

  A batch that the number of groups does not divide, such as the last one of an
  epoch, has fewer groups.

  Args:
    tree: Arrays `[B, ...]`.
    groups: Number of groups, `G`.

  Returns:
    Arrays `[G, B / G, ...]`.
  """
  count = group_count(groups, len(jax.tree.leaves(tree)[0]))

  def split(array: jax.Array) -> jax.Array:
    return array.reshape(count, -1, *array.shape[1:])

  return jax.tree.map(split, tree)
