"""Cache of compiled programs, for the next start of a command."""

import dataclasses

import jax

from kdjax.runtime.cache import cache_folder

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
    if jax.config.jax_compilation_cache_dir:  # pyright: ignore
      return  # the environment has chosen a folder
    folder = cache_folder() / 'programs'
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', _SECONDS)
