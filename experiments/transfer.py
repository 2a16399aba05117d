"""How well the features of students serve another set: linear probes.

  python -m experiments.transfer --run=RUN --dataset=stl10

RUN is the folder of one run, or a work folder with all its runs, or a file of
weights (with `--network=NAME`); several make one table. The classifier is
replaced by a new one, which alone is trained: 120 epochs, SGD 0.05 (0.01 for
mobile networks), divided by 10 after 30, 60 and 90. Published top-1 of wrn_16_2
that learnt CIFAR-100 from wrn_40_2 (Giakoumoglou and Stathaki, 2024, with
`--bn=adapt`):

                 STL-10  Tiny ImageNet
  teacher          68.6           31.5
  student alone    69.7           33.7
  kd               70.9           33.9
  crd              71.6           35.6
  icd              71.2           35.0
  icd+kd           72.5           36.2

What the two `--bn` do, and what they say: docs/transfer.md.
"""

import sys
from collections.abc import Sequence

from kdjax.cli import command
from kdjax.studies import Study, Transfer, TransferConfig

_NAME = 'experiments.transfer'


def make_config() -> TransferConfig:
  """The defaults, the published protocol; what is probed has none."""
  return TransferConfig()


def run(config: TransferConfig, place: command.Place | None = None) -> Study:
  """Runs the probes; what notebooks call."""
  return command.run(
    config, place or command.Place(), name=_NAME, work=Transfer
  )


def main(argv: Sequence[str] | None = None) -> int:
  """The command."""
  return command.main(
    make_config, name=_NAME, default_method=None, argv=argv, work=Transfer
  )


if __name__ == '__main__':
  sys.exit(main())
