"""Parts of a batch: what a device would see of it, without an exchange."""

import math

import jax

from kdjax.typing import PyTree


def group_count(groups: int, images: int) -> int:
  """Into how many equal parts so many images are cut, at most `groups`."""
  return math.gcd(groups, images)


def grouped(tree: PyTree, groups: int) -> PyTree:
  """Arrays `[n, ...]` as runs of equal length, `[groups, n / groups, ...]`.

  Fewer groups where they do not divide the batch, as the smaller last one of
  an epoch; `jax.vmap` then gives what each group gives.
  """
  count = group_count(groups, len(jax.tree.leaves(tree)[0]))
  return jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), tree)
