"""Collectives of a compiled step, and a model of how it scales.

  python -m benchmarks.collectives

Compiles the sharded step for virtual CPU devices, reads the collectives and
their bytes from the optimized HLO, and computes for 8, 64 and 256 chips the
fraction of the time that a chip computes, if nothing overlaps. Collectives
inside while loops are counted separately: each runs in every iteration, so the
model, which counts them once, is an upper bound if there are any. Writes
`benchmarks/results/collectives.json`; the assumptions are in docs/pods.md.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import flag_types, timing
from benchmarks._hlo import Collective, collectives
from benchmarks._program import make_program
from kdjax.data import Split
from kdjax.runtime.mesh import first_devices
from kdjax.train import Carry, Frozen
from kdjax.train.run import count_parameters
from kdjax.typing import PyTree

CHIPS = (8, 64, 256)
UTILIZATIONS = (1.0, 0.2)  # fractions of the peak that a chip computes at


@dataclasses.dataclass(frozen=True)
class Case:
  """A step to compile.

  Attributes:
    teacher: Name of the teacher network.
    student: Name of the student network.
    method: Name of the method.
    classes: Number of classes.
    size: Height and width of the images.
    images: Images per chip.
  """

  teacher: str
  student: str
  method: str
  classes: int = 100
  size: int = 32
  images: int = 64


CASES = (
  Case('resnet32x4', 'resnet8x4', 'kd'),
  Case('resnet32x4', 'resnet8x4', 'kd2m'),
  Case('resnet32x4', 'resnet8x4', 'icd'),
  Case('imagenet_resnet34', 'imagenet_resnet18', 'kd', 1000, 224, 128),
)


@dataclasses.dataclass(frozen=True)
class Chips:
  """A kind of chip and its interconnect; published numbers, see docs/pods.md.

  Attributes:
    flops: Peak operations per second of a chip in bfloat16.
    near: Bytes per second that a chip sends in a ring, one way.
    far: The same if the ring connects several machines.
    box: Chips per machine.
    hop: Seconds of latency from one chip to the next.
    torus: Number of axes of the torus of chips; `None` for a tree.
  """

  flops: float
  near: float
  far: float
  box: int
  hop: float
  torus: int | None = None

  def hops(self, count: int) -> float:
    """Returns the hops from the farthest chip to the root of a reduction."""
    if self.torus is None:
      return math.log2(count)
    return self.torus * (count ** (1 / self.torus) - 1)


KINDS = {
  'TPU v5e': Chips(197e12, 50e9, 50e9, 256, 1e-6, 2),
  'H100': Chips(989e12, 450e9, 50e9, 8, 3e-6),
}


def seconds(sent: Iterable[Collective], count: int, chips: Chips) -> float:
  """Computes the time of sequential collectives in rings.

  A ring sends `(n - 1) / n` of the bytes of an all-gather through each chip,
  and twice that for an all-reduce; each also costs the latency of the hops.

  Args:
    sent: The collectives, each of which runs once.
    count: Number of chips.
    chips: Kind of chips.
  """
  speed = chips.near if count <= chips.box else chips.far
  latency = chips.hops(count) * chips.hop
  total = 0.0
  for one in sent:
    passes = 2 if one.kind == 'all-reduce' else 1
    total += passes * ((count - 1) / count * one.bytes / speed + latency)
  return total


def measure(case: Case, devices: int) -> dict[str, Any]:
  """Returns the collectives of a step and its scaling, as a row.

  Args:
    case: The step.
    devices: Number of CPU devices that it is compiled for.
  """
  lowered, parameters = lower(case, devices)
  sent = collectives(lowered.compile().as_text())
  # Before compilation the count is that of all devices.
  flops = lowered.cost_analysis()['flops'] / devices
  return {
    'pair': f'{case.teacher}:{case.student}',
    'method': case.method,
    'devices': devices,
    'images_per_chip': case.images,
    'student_megabytes': round(4e-6 * parameters, 3),
    'gigaflops_per_image': round(flops / case.images / 1e9, 3),
    'collectives': _by_kind([one for one in sent if not one.in_loop]),
    'collectives_in_loops': _by_kind([one for one in sent if one.in_loop]),
    'share_of_time_computing': {
      f'{name}, {share:g} of its peak': {
        count: round(
          1 / (1 + seconds(sent, count, chips) * share * chips.flops / flops), 3
        )
        for count in CHIPS
      }
      for name, chips in KINDS.items()
      for share in UTILIZATIONS
    },
  }


def lower(case: Case, devices: int) -> tuple[Any, int]:
  """Lowers the sharded step; also returns the student's parameter count."""
  size, shape = case.images * devices, (case.size, case.size, 3)
  program = make_program(
    case.teacher,
    case.student,
    case.method,
    train=Split(np.zeros((size, *shape), np.uint8), np.zeros(size, np.int32)),
    batch_size=size,
    devices=first_devices(devices),
    num_classes=case.classes,
    precision='bfloat16',
    crop_padding=0,
  )
  assert program.parts.teacher is not None
  frozen = Frozen(teacher=program.parts.teacher.describe(shape).variables)
  state = program.init_state(jax.random.key(0), frozen.teacher)
  carry = Carry(state=state, sums=program.empty_sums(state, frozen))

  def replicated(tree: PyTree) -> PyTree:
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=program.devices.replicated
      ),
      tree,
    )

  step = program.devices.jit(program.advance_one, donate_argnums=0)
  lowered = step.lower(
    replicated(carry), replicated(frozen), program.batch_shapes()
  )
  return lowered, count_parameters(state.params['student'])


def _by_kind(sent: Sequence[Collective]) -> dict[str, dict[str, float]]:
  """Returns number and megabytes of the collectives of each kind."""
  table: dict[str, dict[str, float]] = {}
  for kind in sorted({one.kind for one in sent}):
    sizes = [one.bytes for one in sent if one.kind == kind]
    megabytes = round(1e-6 * sum(sizes), 4)
    table[kind] = {'count': len(sizes), 'megabytes': megabytes}
  return table


def main() -> None:
  """Compiles every case and writes."""
  parser = flag_types.make_parser(__doc__, repeats=None)
  parser.add_argument('--cases', type=int, default=len(CASES))
  parser.add_argument('--devices', type=int, default=8)
  flags = parser.parse_args()
  jax.config.update('jax_num_cpu_devices', flags.devices)
  rows = []
  for case in CASES[: flags.cases]:
    print(f'compiling {case}', flush=True)
    rows.append(measure(case, flags.devices))
  timing.record(flags.output / 'collectives.json', rows)


if __name__ == '__main__':
  main()
