"""Cache of compiled programs, for the next start of a command."""

import dataclasses
import glob
import pathlib
import re
import warnings

import jax

from kdjax.runtime.cache import cache_folder

# How JAX's warning begins, up to the name of the program.
_UNREADABLE = "Error reading persistent compilation cache entry for '([^']*)'"
_SECONDS = 0.1  # programs that compile in less are not kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compilation:
  """Use of the cache of compiled programs.

  Attributes:
    no_compile_cache: Compile all programs again. Otherwise they are read from
      and kept in $KDJAX_CACHE/programs (~/.cache/kdjax/programs), or in
      $JAX_COMPILATION_CACHE_DIR; the folder may be deleted at any time.
  """

  no_compile_cache: bool = False

  def start(self) -> None:
    """Configures JAX for the whole process."""
    if self.no_compile_cache:
      jax.config.update('jax_enable_compilation_cache', False)
      return
    chosen = jax.config.jax_compilation_cache_dir  # pyright: ignore
    if not chosen:  # the environment may have chosen a folder
      chosen = str(cache_folder() / 'programs')
      jax.config.update('jax_compilation_cache_dir', chosen)
      jax.config.update('jax_persistent_cache_min_compile_time_secs', _SECONDS)
    if '://' not in chosen:
      _replace_damaged(pathlib.Path(chosen))


def _replace_damaged(folder: pathlib.Path) -> None:
  """Deletes compiled programs that JAX cannot read, so that it writes them.

  JAX compiles such a program again, with a warning that has its name, but keeps
  every file that exists. Other programs of that name are deleted with it.

  Args:
    folder: JAX's folder of compiled programs.
  """
  warnings.filterwarnings('always', _UNREADABLE)
  show = warnings.showwarning

  def show_or_delete(message, *details, **options):
    match = re.match(_UNREADABLE, str(message))
    if match is None:
      show(message, *details, **options)
      return
    for path in folder.glob(f'{glob.escape(match[1])}-*-cache'):
      path.unlink(missing_ok=True)

  warnings.showwarning = show_or_delete
