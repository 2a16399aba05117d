"""Checkpoints of a run in orbax's format: the latest ones and the best one."""

import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from kdjax.messages import first_line
from kdjax.runtime import orbax_trees
from kdjax.runtime.files import absolute
from kdjax.runtime.orbax_folders import check_readable
from kdjax.typing import PyTree

_ITEM = 'default'  # orbax's name of the only tree in a checkpoint
# Orbax numbers its saves per process: those of several runs must start one
# after the other.
_SAVING = threading.Lock()


class Checkpoints:
  """Checkpoints of one run.

  Keeps the two latest, because a machine that fails can leave the newest one
  unreadable, and the best one by the task's score. Saving is asynchronous; a
  checkpoint has a temporary name until it is complete.

  Only one process of a run has this object: states are complete in each of
  them, and are saved from host memory.

  Args:
    folder: Where the folders `latest` and `best` are created.
  """

  def __init__(self, folder: epath.PathLike):
    self._folder = absolute(folder)
    self._latest = orbax_trees.manager(self._folder / 'latest', max_to_keep=2)
    self._best = orbax_trees.manager(self._folder / 'best', max_to_keep=1)

  def save(self, step: int, tree: PyTree) -> None:
    """Saves the state of a run; returns before it is on disk.

    Args:
      step: Steps done.
      tree: Arrays and random keys.
    """
    self._save(self._latest, step, tree)

  def save_best(self, step: int, tree: PyTree) -> None:
    """Saves the best variables so far in place of the previous ones.

    Args:
      step: Steps done.
      tree: Arrays.
    """
    if step in self._best.all_steps():
      return  # a resumed run repeats this step, with the same bits
    self._save(self._best, step, tree)

  def _save(
    self, manager: ocp.CheckpointManager, step: int, tree: PyTree
  ) -> None:
    tree = on_host(tree)
    orbax_trees.check_space(self._folder, tree)
    with orbax_trees.os_errors(self._folder), _SAVING:
      manager.save(step, args=ocp.args.StandardSave(tree))

  def wait(self) -> None:
    """Waits until everything is on disk.

    Raises:
      OSError: If something could not be written.
    """
    with orbax_trees.os_errors(self._folder):
      self._latest.wait_until_finished()
      self._best.wait_until_finished()

  def restore_latest(
    self, like: PyTree, warn: Callable[[str], None]
  ) -> PyTree | None:
    """Restores the newest readable state, and deletes later best checkpoints.

    A checkpoint that cannot be read is renamed, with a warning, and the
    previous one is used.

    Args:
      like: The expected tree, as `on_host` returns it.
      warn: Called with the warning.

    Returns:
      The state on the host, with random keys as integers; `None` if there is no
      checkpoint.

    Raises:
      ValueError: If a checkpoint is of another network or method; it lists the
        differences.
    """
    for step in sorted(self._latest.all_steps(), reverse=True):
      folder = self._folder / 'latest' / str(step)
      try:
        check_readable(folder / _ITEM)
        tree = self._restore(step, like)
        self._delete_best_after(step)
        return tree
      except orbax_trees.DifferentTreeError as error:
        raise ValueError(
          f'The checkpoint {folder} is of another network or method:\n{error}'
        ) from error
      except Exception as error:
        warn(
          f'The checkpoint of step {step} cannot be read '
          f'({type(error).__name__}); it is kept as {folder}.broken, and the '
          'previous checkpoint is used.'
        )
        folder.rename(f'{folder}.broken')
        self._latest.reload()
    return None

  def _restore(self, step: int, like: PyTree) -> PyTree:
    stored = self._latest.item_metadata(step).tree
    args = orbax_trees.restore_args(stored, like)
    return self._latest.restore(step, args=args)

  def _delete_best_after(self, step: int) -> None:
    """Deletes best checkpoints of steps that the resumed run will repeat."""
    for later in self._best.all_steps():
      if later > step:
        self._best.delete(later)

  def close(self) -> None:
    """Waits until everything is on disk and ends the threads.

    Raises:
      OSError: If something could not be written.
    """
    with orbax_trees.os_errors(self._folder):
      self._latest.close()
      self._best.close()


def save_variables(folder: epath.PathLike, variables: PyTree) -> None:
  """Saves a network's variables as one orbax folder.

  Args:
    folder: Replaced if it exists.
    variables: Arrays.

  Raises:
    OSError: If they cannot be written.
  """
  variables, folder = on_host(variables), absolute(folder)
  orbax_trees.check_space(folder.parent, variables)
  with orbax_trees.os_errors(folder), orbax_trees.checkpointer() as writer:
    args = ocp.args.StandardSave(variables)
    writer.save(folder, args=args, force=True)


def load_variables(folder: epath.PathLike, like: PyTree) -> PyTree:
  """Loads a network's variables from an orbax folder.

  Args:
    folder: Written by `save_variables` or by orbax's `StandardCheckpointer`.
    like: Arrays or shapes of the expected tree.

  Returns:
    The variables on the host.

  Raises:
    ValueError: If it is not such a folder, or holds other arrays; it lists the
      arrays that are missing, unexpected or of another shape.
  """
  folder = absolute(folder)
  try:
    check_readable(folder)
    with orbax_trees.checkpointer() as reader:
      stored = reader.metadata(folder).item_metadata.tree
      args = orbax_trees.restore_args(stored, like)
      return reader.restore(folder, args=args)
  except orbax_trees.DifferentTreeError as error:
    raise ValueError(
      f'{folder} holds the weights of another network:\n{error}'
    ) from error
  except Exception as error:
    raise ValueError(
      f'{folder} cannot be read as an orbax checkpoint '
      f'({type(error).__name__}: {first_line(error)}).'
    ) from error


def on_host(tree: PyTree) -> PyTree:
  """Copies a tree to host memory.

  Args:
    tree: Arrays and random keys.

  Returns:
    NumPy arrays; random keys as the integers they consist of.
  """
  return jax.tree.map(
    lambda leaf: np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf),
    tree,
  )


def with_keys(tree: PyTree, like: PyTree) -> PyTree:
  """Restores the random keys of a tree that `on_host` has copied.

  Args:
    tree: Arrays on the host.
    like: The tree before, or one of the same structure.

  Returns:
    The tree with random keys where `like` has them.
  """
  return jax.tree.map(
    lambda leaf, old: (
      jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(old))
      if _is_key(old)
      else leaf
    ),
    tree,
    like,
  )


def _is_key(leaf: object) -> bool:
  return isinstance(leaf, jax.Array) and jnp.issubdtype(
    leaf.dtype, jax.dtypes.prng_key
  )
