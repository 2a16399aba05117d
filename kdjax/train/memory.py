"""How much memory this machine has for us."""

import contextlib
import os
import pathlib

# What a container may take, by the second and the first version of cgroups.
_LIMITS = (
  pathlib.Path('/sys/fs/cgroup/memory.max'),
  pathlib.Path('/sys/fs/cgroup/memory/memory.limit_in_bytes'),
)


def host_bytes() -> int:
  """Bytes of the machine or of its container; 0 where nobody says."""
  found = []
  with contextlib.suppress(AttributeError, ValueError, OSError):
    found.append(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))
  for limit in _LIMITS:
    with contextlib.suppress(ValueError, OSError):  # or the word max
      found.append(int(limit.read_text()))
  return min(found, default=0)
