"""`python -m tests.golden FOLDER`."""

import pathlib
import sys

import jax

from tests.golden import runner


def main() -> int:
  """Checks the golden files of the folder given on the command line."""
  if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
    print('usage: python -m tests.golden FOLDER (a folder of golden files)')
    return 2
  # Float64 golden values are compared in float64; inputs keep their dtypes.
  jax.config.update('jax_enable_x64', True)
  return runner.run(pathlib.Path(sys.argv[1]))


if __name__ == '__main__':
  sys.exit(main())
