"""Checkpoints of a run by orbax: the latest to go on from, and the best."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from kdjax.runtime.files import absolute, is_remote
from kdjax.runtime.orbax_folders import check_readable
from kdjax.typing import PyTree

_ITEM = 'default'  # orbax's name of the only tree in a checkpoint
_OVERHEAD = 1 << 16  # bytes of metadata beside the arrays, roughly


class Checkpoints:
  """The checkpoints of one run.

  Two of the latest are kept, because a machine that goes down can leave the
  newest one unreadable, and the best one by the task's score. Writing is
  asynchronous; what is being written has another name until it is whole.

  Only one process of a run has this object: states are whole in each of them,
  and are written from host memory.
  """

  def __init__(self, folder: epath.PathLike):
    self._folder = absolute(folder)
    self._latest = _manager(self._folder / 'latest', max_to_keep=2)
    self._best = _manager(self._folder / 'best', max_to_keep=1)

  def save(self, step: int, tree: PyTree) -> None:
    """Saves where the run stands; returns before it is on disk."""
    self._save(self._latest, step, tree)

  def save_best(self, step: int, tree: PyTree) -> None:
    """Saves the best so far in place of the one before."""
    if step in self._best.all_steps():
      return  # a resumed run comes by here again, with the same bits
    self._save(self._best, step, tree)

  def _save(self, manager, step, tree):
    tree = on_host(tree)
    _check_room(self._folder, tree)
    with _os_errors(self._folder):
      manager.save(step, args=ocp.args.StandardSave(tree))

  def wait(self) -> None:
    """Until everything is on disk.

    Raises:
      OSError: If something could not be written.
    """
    with _os_errors(self._folder):
      self._latest.wait_until_finished()
      self._best.wait_until_finished()

  def restore_latest(
    self, like: PyTree, warn: Callable[[str], None]
  ) -> PyTree | None:
    """The newest readable state on the host, keys as the integers they are.

    A checkpoint that cannot be read is set aside with a warning, and the one
    before it is taken.

    Args:
      like: What `on_host` makes of the state that is expected.
      warn: Told of what is set aside.

    Raises:
      ValueError: If a checkpoint is of another network or method; it lists
        what differs.
    """
    for step in sorted(self._latest.all_steps(), reverse=True):
      try:
        check_readable(self._folder / 'latest' / str(step) / _ITEM)
        tree = _restore(self._latest, step, like)
        self._forget_after(step)
        return tree
      except DifferentTreeError as error:
        raise ValueError(
          f'The checkpoint {self._folder / "latest" / str(step)} is of '
          f'another network or method:\n{error}'
        ) from error
      except Exception as error:
        broken = self._folder / 'latest' / str(step)
        warn(
          f'The checkpoint of step {step} cannot be read '
          f'({type(error).__name__}); it is kept as {broken}.broken, and the '
          'one before it is taken.'
        )
        broken.rename(f'{broken}.broken')
        self._latest.reload()
    return None

  def _forget_after(self, step: int) -> None:
    """Drops best checkpoints that the resumed run has yet to come to."""
    for later in self._best.all_steps():
      if later > step:
        self._best.delete(later)

  def close(self) -> None:
    """Waits for what is being written and lets go of the threads."""
    with _os_errors(self._folder):
      self._latest.close()
      self._best.close()


class DifferentTreeError(ValueError):
  """A stored tree has other arrays than the one that was asked for."""


def save_variables(folder: epath.PathLike, variables: PyTree) -> None:
  """Writes a network's variables as one orbax folder, in place of any there."""
  variables, folder = on_host(variables), absolute(folder)
  _check_room(folder.parent, variables)
  with _os_errors(folder), _checkpointer() as writer:
    args = ocp.args.StandardSave(variables)
    writer.save(folder, args=args, force=True)


def load_variables(folder: epath.PathLike, like: PyTree) -> PyTree:
  """A network's variables from an orbax folder, on the host.

  Args:
    folder: As `save_variables` wrote it, or any of orbax's standard ones.
    like: Arrays or shapes of the tree that is expected.

  Raises:
    ValueError: If it is not such a folder, or holds other arrays; it lists the
      arrays that are missing, unexpected or of another shape.
  """
  folder = absolute(folder)
  try:
    check_readable(folder)
    with _checkpointer() as reader:
      _check_same(reader.metadata(folder).item_metadata.tree, like)
      args = ocp.args.StandardRestore(_empty(like))
      return reader.restore(folder, args=args)
  except DifferentTreeError as error:
    raise ValueError(
      f'{folder} holds the weights of another network:\n{error}'
    ) from error
  except Exception as error:
    raise ValueError(
      f'{folder} cannot be read as an orbax checkpoint '
      f'({type(error).__name__}: {_first_line(error)}).'
    ) from error


def differences(stored: PyTree, wanted: PyTree) -> list[str]:
  """One line for each array that is missing, unexpected or of another shape."""
  have, want = _shapes(stored), _shapes(wanted)
  lines = [
    f'missing     {name} {want[name]}' for name in want if name not in have
  ]
  lines += [
    f'unexpected  {name} {have[name]}' for name in have if name not in want
  ]
  lines += [
    f'shape       {name}: stored {have[name]}, expected {want[name]}'
    for name in want
    if name in have and have[name] != want[name]
  ]
  return lines


def on_host(tree: PyTree) -> PyTree:
  """Copies in host memory; keys as the integers they are made of."""
  return jax.tree.map(
    lambda leaf: np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf),
    tree,
  )


def with_keys(tree: PyTree, like: PyTree) -> PyTree:
  """What `on_host` made of a tree like `like`, with its keys as keys again."""
  return jax.tree.map(
    lambda leaf, old: (
      jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(old))
      if _is_key(old)
      else leaf
    ),
    tree,
    like,
  )


def _manager(folder, max_to_keep):
  folder.mkdir(parents=True, exist_ok=True)
  alone = _alone(folder.name)
  return ocp.CheckpointManager(
    folder,
    # Named, because without it there is no metadata before the first save.
    item_handlers=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
    options=ocp.CheckpointManagerOptions(
      max_to_keep=max_to_keep, create=False, multiprocessing_options=alone
    ),
  )


def _checkpointer():
  alone = _alone('variables')
  return ocp.Checkpointer(
    ocp.StandardCheckpointHandler(multiprocessing_options=alone),
    multiprocessing_options=alone,
  )


def _alone(name):
  """Options by which orbax does not wait for other processes."""
  process = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=process,
    active_processes={process},
    barrier_sync_key_prefix=f'{name}_of_process_{process}',
  )


def _restore(manager, step, like):
  _check_same(manager.item_metadata(step).tree, like)
  return manager.restore(step, args=ocp.args.StandardRestore(_empty(like)))


def _check_room(folder, tree):
  """Raises an `OSError` where the disk has no room for a tree.

  Orbax would find out as well, in many threads, each with a traceback. Object
  stores have no end.
  """
  if is_remote(folder):
    return
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + _OVERHEAD
  path = folder / 'room.tmp'
  try:
    if hasattr(os, 'posix_fallocate'):
      with path.open('wb') as file:
        os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(folder).free < size:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  except OSError as error:
    raise OSError(error.errno, error.strerror, str(folder)) from error
  finally:
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _os_errors(folder):
  """What orbax and tensorstore raise where they cannot write, as `OSError`."""
  try:
    yield
  except (ValueError, RuntimeError) as error:
    raise OSError(
      f'{folder} cannot be written: {_first_line(error)}'
    ) from error


def _check_same(stored, wanted):
  lines = differences(stored, wanted)
  if lines:
    shown = [f'  {line}' for line in lines[:20]]
    if len(lines) > len(shown):
      shown.append(f'  and {len(lines) - len(shown)} more')
    raise DifferentTreeError('\n'.join(shown))


def _shapes(tree):
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): tuple(leaf.shape)
    for path, leaf in leaves
  }


def _is_key(leaf):
  return isinstance(leaf, jax.Array) and jnp.issubdtype(
    leaf.dtype, jax.dtypes.prng_key
  )


def _empty(tree):
  """Host arrays to restore into, wherever the tree was when it was saved."""
  return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [''])[0][:200]
