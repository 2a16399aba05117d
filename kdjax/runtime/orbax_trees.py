"""Orbax as one process uses it: saving and restoring trees on the host."""

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from kdjax.messages import first_line
from kdjax.runtime.files import is_remote
from kdjax.runtime.named_arrays import compare, leaves_by_name, shapes
from kdjax.runtime.temporary import new_file
from kdjax.typing import PyTree

_METADATA_BYTES = 1 << 16  # beside the arrays, roughly


class DifferentTreeError(ValueError):
  """A stored tree has other arrays than the expected one."""


def manager(folder: epath.Path, max_to_keep: int) -> ocp.CheckpointManager:
  """Opens a folder with one checkpoint per step; creates the folder.

  Args:
    folder: Absolute path.
    max_to_keep: Number of checkpoints after which the oldest is deleted.
  """
  folder.mkdir(parents=True, exist_ok=True)
  single = _single_process(folder.name)
  return ocp.CheckpointManager(
    folder,
    # Without a handler there would be no metadata before the first save.
    item_handlers=ocp.StandardCheckpointHandler(multiprocessing_options=single),
    options=ocp.CheckpointManagerOptions(
      max_to_keep=max_to_keep,
      create=False,
      multiprocessing_options=single,
      # Orbax matches its own threads by a number that all threads of a process
      # share: of runs that save at once one would wait for the other's folders.
      async_options=ocp.options.AsyncOptions(
        create_directories_asynchronously=False
      ),
    ),
  )


def checkpointer() -> ocp.Checkpointer:
  """Opens a reader and writer of single trees."""
  single = _single_process('variables')
  return ocp.Checkpointer(
    ocp.StandardCheckpointHandler(multiprocessing_options=single),
    multiprocessing_options=single,
  )


def restore_args(stored: PyTree, expected: PyTree) -> ocp.args.StandardRestore:
  """Returns orbax's arguments to restore a tree as arrays on the host.

  They are restored in the dtypes in which they were saved.

  Args:
    stored: Metadata of the stored tree.
    expected: Arrays or shapes, of any dtypes.

  Raises:
    DifferentTreeError: If arrays are missing, unexpected or of another shape.
  """
  arrays = leaves_by_name(stored)
  differences = compare(shapes(arrays), shapes(leaves_by_name(expected)))
  if differences:
    raise DifferentTreeError(str(differences))
  leaves = [
    np.empty(leaf.shape, arrays[name].dtype)
    for name, leaf in leaves_by_name(expected).items()
  ]
  return ocp.args.StandardRestore(
    jax.tree.unflatten(jax.tree.structure(expected), leaves)
  )


def check_space(folder: epath.Path, tree: PyTree) -> None:
  """Checks that a folder can be written to, and its disk has space for a tree.

  Orbax would fail in many threads, each with a traceback, or try for minutes.
  Object stores have no limit.

  Args:
    folder: Folder in which the tree will be saved.
    tree: Arrays on the host.

  Raises:
    OSError: If it cannot, or there is not enough space.
  """
  if is_remote(folder):
    return
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + _METADATA_BYTES
  path = None
  try:
    path = new_file(pathlib.Path(folder))
    if hasattr(os, 'posix_fallocate'):
      with path.open('r+b') as file:
        os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(folder).free < size:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  except OSError as error:
    raise OSError(error.errno, error.strerror, str(folder)) from error
  finally:
    if path is not None:
      path.unlink(missing_ok=True)


@contextlib.contextmanager
def os_errors(folder: epath.Path) -> Iterator[None]:
  """Turns errors of orbax and tensorstore while writing into `OSError`.

  Args:
    folder: Named in the message.

  Raises:
    OSError: If something cannot be written.
  """
  try:
    yield
  except (ValueError, RuntimeError) as error:
    raise OSError(f'{folder} cannot be written: {first_line(error)}') from error


def _single_process(name: str) -> ocp.options.MultiprocessingOptions:
  """Returns options with which orbax does not wait for other processes."""
  process = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=process,
    active_processes={process},
    barrier_sync_key_prefix=f'{name}_of_process_{process}',
  )
