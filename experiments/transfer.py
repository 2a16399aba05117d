"""Linear probes: how useful the features of networks are on another dataset.

  python -m experiments.transfer --run=RUN --dataset=stl10

RUN is a run folder, a work folder with all its runs, or a file of weights (with
`--network=NAME`); several make one table. The classifier is replaced with a new
one, which alone is trained: 120 epochs, SGD with learning rate 0.05 (0.01 for
mobile networks), divided by 10 after epochs 30, 60 and 90. Published top-1
accuracy in percent of wrn_16_2 that was distilled from wrn_40_2 on CIFAR-100
(Giakoumoglou and Stathaki, 2024, with `--bn=adapt`):

                 STL-10  Tiny ImageNet
  teacher          68.6           31.5
  student alone    69.7           33.7
  kd               70.9           33.9
  crd              71.6           35.6
  icd              71.2           35.0
  icd+kd           72.5           36.2

The two choices of `--bn`: docs/transfer.md.
"""

import sys

from kdjax.cli.command import Command
from kdjax.studies import Transfer, TransferConfig

COMMAND = Command(
  name='experiments.transfer',
  description=__doc__,
  config=TransferConfig,
  work=Transfer,
)


if __name__ == '__main__':
  sys.exit(COMMAND.main())
