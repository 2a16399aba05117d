"""Compiled programs, kept for the next start of a command."""

import dataclasses

import jax

from kdjax.studies.teacher import cache_folder

_SECONDS = 0.1  # programs that compile faster are not worth a file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compilation:
  """What happens to compiled programs.

  Attributes:
    no_compile_cache: Compile everything anew. Otherwise what was compiled once
      is read from `$KDJAX_CACHE/programs` (`~/.cache/kdjax/programs`), or from
      where `JAX_COMPILATION_CACHE_DIR` says; it may be deleted at any time.
  """

  no_compile_cache: bool = False

  def start(self) -> None:
    """Sets JAX up, for this process as a whole."""
    if self.no_compile_cache:
      jax.config.update('jax_enable_compilation_cache', False)
      return
    chosen = jax.config.jax_compilation_cache_dir  # pyright: ignore
    if chosen:
      return
    folder = cache_folder() / 'programs'
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', _SECONDS)
