"""Checkpoints of a run in orbax's format: the latest ones and the best one."""

import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from kdjax.messages import first_line
from kdjax.runtime import array_hashes, files, orbax_trees
from kdjax.runtime.files import absolute
from kdjax.runtime.orbax_folders import check_readable
from kdjax.typing import PyTree

_ITEM = 'default'  # orbax's name of the only tree in a checkpoint
_SAVED = 'saved.json'  # the last step of which a checkpoint was complete
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
    folder: Parent of the folders `latest` and `best`.
  """

  def __init__(self, folder: epath.PathLike):
    self._folder = absolute(folder)
    self._latest = orbax_trees.manager(self._folder / 'latest', max_to_keep=2)
    self._best = orbax_trees.manager(self._folder / 'best', max_to_keep=1)
    self._pending: int | None = None  # the step that is being saved

  def save(self, step: int, tree: PyTree) -> None:
    """Saves the state of a run; returns before it is on disk.

    Args:
      step: Steps done.
      tree: Arrays and random keys.
    """
    self._save(self._latest, 'latest', step, tree)
    self._note_saved()  # orbax has waited for the one before
    self._pending = step

  def save_best(self, step: int, tree: PyTree) -> None:
    """Saves the best variables so far in place of the previous ones.

    Args:
      step: Steps done.
      tree: Arrays.
    """
    if step in self._best.all_steps():
      return  # a resumed run repeats this step, with the same bits
    self._save(self._best, 'best', step, tree)

  def _save(
    self, manager: ocp.CheckpointManager, name: str, step: int, tree: PyTree
  ) -> None:
    tree = on_host(tree)
    orbax_trees.check_space(self._folder / name, tree)
    with orbax_trees.os_errors(self._folder), _SAVING:
      manager.save(
        step,
        args=ocp.args.StandardSave(tree),
        custom_metadata=array_hashes.metadata(tree),
      )

  def wait(self) -> None:
    """Waits until everything is on disk.

    Raises:
      OSError: If something could not be written.
    """
    with orbax_trees.os_errors(self._folder):
      self._latest.wait_until_finished()
      self._best.wait_until_finished()
    self._note_saved()

  def restore_latest(
    self, like: PyTree, warn: Callable[[str], None]
  ) -> PyTree | None:
    """Restores the newest readable state, and deletes later best checkpoints.

    A checkpoint that cannot be read, or whose arrays are not those that were
    saved, is renamed, with a warning, and the previous one is used.

    Args:
      like: The expected tree, as `on_host` returns it.
      warn: Called with the warning.

    Returns:
      The state on the host, with random keys as integers; `None` if there is no
      checkpoint.

    Raises:
      ValueError: If a checkpoint is of another network or method, with the
        differences; or if there were checkpoints and none can be read.
    """
    steps = sorted(self._latest.all_steps(), reverse=True)
    for step in steps:
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
        broken = _unused_name(f'{folder}.broken')
        used = 'the previous checkpoint is used'
        if step == steps[-1]:
          used = 'there is no earlier one'
        warn(
          f'The checkpoint of step {step} cannot be read; it is kept as '
          f'{broken}, and {used}. The reason: {first_line(error)}'
        )
        folder.rename(broken)
        self._latest.reload()
    self._check_none_lost()
    self._delete_best_after(-1)
    return None

  def _note_saved(self) -> None:
    """Writes which checkpoint is complete, so that its loss is noticed."""
    if self._pending is not None:
      files.write_json(self._folder / _SAVED, {'step': self._pending})
      self._pending = None

  def _check_none_lost(self) -> None:
    """Raises a `ValueError` if there were checkpoints."""
    folder = self._folder / 'latest'
    if (self._folder / _SAVED).exists() or any(folder.glob('*.broken*')):
      raise ValueError(
        f'There were checkpoints in {folder}, and none can be read. Restore '
        f'them, or delete {self._folder.parent} to train the run again from '
        'the start.'
      )

  def _restore(self, step: int, like: PyTree) -> PyTree:
    stored = self._latest.item_metadata(step).tree
    args = orbax_trees.restore_args(stored, like)
    tree = self._latest.restore(step, args=args)
    return _checked(tree, self._folder / 'latest' / str(step) / _ITEM, like)

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
    self._note_saved()


def save_variables(folder: epath.PathLike, variables: PyTree) -> None:
  """Saves a network's variables as one orbax folder.

  Args:
    folder: Replaced if it exists; its parents are created.
    variables: Arrays.

  Raises:
    OSError: If they cannot be written.
  """
  variables, folder = on_host(variables), absolute(folder)
  folder.parent.mkdir(parents=True, exist_ok=True)
  orbax_trees.check_space(folder.parent, variables)
  with orbax_trees.os_errors(folder), orbax_trees.checkpointer() as writer:
    writer.save(
      folder,
      args=ocp.args.StandardSave(variables),
      custom_metadata=array_hashes.metadata(variables),
      force=True,
    )


def load_variables(folder: epath.PathLike, like: PyTree) -> PyTree:
  """Loads a network's variables from an orbax folder.

  Args:
    folder: Written by `save_variables`; `kdjax.convert.load` reads those that
      orbax alone has written.
    like: Arrays or shapes of the expected tree.

  Returns:
    The variables on the host.

  Raises:
    ValueError: If it is not such a folder, if an array is not the one that
      `save_variables` saved, or if it holds other arrays; lists those that are
      missing, unexpected or of another shape.
  """
  folder = absolute(folder)
  try:
    check_readable(folder)
    with orbax_trees.checkpointer() as reader:
      stored = reader.metadata(folder).item_metadata.tree
      args = orbax_trees.restore_args(stored, like)
      tree = reader.restore(folder, args=args)
    return _checked(tree, folder, like)
  except orbax_trees.DifferentTreeError as error:
    raise ValueError(
      f'{folder} holds the weights of another network:\n{error}'
    ) from error
  except Exception as error:
    raise ValueError(
      f'{folder} cannot be read as an orbax checkpoint '
      f'({type(error).__name__}: {first_line(error)}).'
    ) from error


def _checked(tree: PyTree, folder: epath.Path, like: PyTree) -> PyTree:
  """Returns stored arrays in the expected dtypes, once their hashes agree.

  Raises:
    DamagedError: If they do not, or if there are no hashes.
  """
  hashes = array_hashes.stored_hashes(folder)
  if hashes is None:
    raise array_hashes.DamagedError(f'{folder} has lost its hashes')
  array_hashes.check(tree, hashes)
  return jax.tree.map(
    lambda leaf, expected: np.asarray(leaf, expected.dtype), tree, like
  )


def _unused_name(name: str) -> epath.Path:
  """Returns the path of a name, with a number if it exists."""
  paths = (epath.Path(f'{name}{end}') for end in ('', *range(2, 1000)))
  return next(path for path in paths if not path.exists())


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
