"""`python -m tests.golden FOLDER`."""

import pathlib
import sys

import jax

from tests.golden import runner


def main() -> int:
  """Runs the folder named on the command line."""
  if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
    print('usage: python -m tests.golden FOLDER (a folder of golden files)')
    return 2
  # Goldens made in float64 are met in float64; inputs keep their own types.
  jax.config.update('jax_enable_x64', True)
  return runner.run(pathlib.Path(sys.argv[1]))


if __name__ == '__main__':
  sys.exit(main())
