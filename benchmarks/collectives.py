"""What a step sends between chips, read from its program, and how it scales.

  python -m benchmarks.collectives

Compiles the sharded step for eight virtual CPU devices, reads the collectives
and their bytes from the optimised HLO, and works out for 8, 64 and 256 chips
which share of its time a chip computes, if nothing overlaps. Writes
`benchmarks/results/collectives.json`; docs/pods.md has the assumptions.
"""

import argparse
import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _record
from kdjax import methods, models
from kdjax.data import Augmentation, Split
from kdjax.runtime.mesh import first_devices
from kdjax.tasks import SingleLabel
from kdjax.train import Parts, Program, Recipe, init_state

PyTree = Any

DEVICES = 8
CHIPS = (8, 64, 256)
UTILIZATIONS = (1.0, 0.2)  # of the peak, by what is computed
# Teacher, student, method, classes, image, a chip's images.
ROWS = (
  ('resnet32x4', 'resnet8x4', 'kd', 100, (32, 32, 3), 64),
  ('resnet32x4', 'resnet8x4', 'kd2m', 100, (32, 32, 3), 64),
  ('resnet32x4', 'resnet8x4', 'icd', 100, (32, 32, 3), 64),
  ('imagenet_resnet34', 'imagenet_resnet18', 'kd', 1000, (224, 224, 3), 128),
)
_COLLECTIVE = re.compile(
  r'= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all'
  r'|collective-permute)(?:-start)?\('
)
_ARRAY = re.compile(r'(pred|[a-z]+(\d+))\[([\d,]*)\]')


@dataclasses.dataclass(frozen=True)
class Chips:
  """What joins chips; published numbers, see docs/pods.md.

  Attributes:
    flops: A chip's peak in bfloat16, per second.
    near: Bytes per second that a chip sends in a ring, one way.
    far: The same where the ring leaves the box.
    box: Chips in a box.
    hop: Seconds of latency from one chip to the next.
    torus: Axes of the torus that messages travel along; a tree without.
  """

  flops: float
  near: float
  far: float
  box: int
  hop: float
  torus: int | None = None

  def hops(self, count: int) -> float:
    """From the farthest chip to the one where all meet, or back."""
    if self.torus is None:
      return math.log2(count)
    return self.torus * (count ** (1 / self.torus) - 1)


KINDS = {
  'TPU v5e': Chips(197e12, 50e9, 50e9, 256, 1e-6, 2),
  'H100': Chips(989e12, 450e9, 50e9, 8, 3e-6),
}


def collectives(hlo: str) -> list[tuple[str, int]]:
  """Kind and bytes of the result of each collective of an HLO program."""
  return [
    (kind, sum(_bytes(*array) for array in _ARRAY.findall(shapes)))
    for shapes, kind in _COLLECTIVE.findall(hlo)
  ]


def seconds(sent: Sequence[tuple[str, int]], count: int, chips: Chips) -> float:
  """Time of collectives in rings over so many chips, one after the other.

  A ring passes `(n - 1) / n` of the bytes of a gathering through each chip, and
  of a reduction twice; what is small costs the latency of the hops.
  """
  speed = chips.near if count <= chips.box else chips.far
  latency = chips.hops(count) * chips.hop
  total = 0.0
  for kind, size in sent:
    times = 2 if kind == 'all-reduce' else 1
    total += times * ((count - 1) / count * size / speed + latency)
  return total


def measure(
  teacher: str,
  student: str,
  method: str,
  classes: int,
  shape: tuple[int, ...],
  images: int,
) -> dict[str, Any]:
  """The collectives of one pair's step, and its time on more chips."""
  lowered, parameters = lower(
    (teacher, student), method, classes, shape, images * DEVICES
  )
  sent = collectives(lowered.compile().as_text())
  # Of all devices together, as the compiler is given it.
  flops = lowered.cost_analysis()['flops'] / DEVICES
  kinds = sorted({kind for kind, _ in sent})
  return {
    'pair': f'{teacher}:{student}',
    'method': method,
    'images_per_chip': images,
    'student_megabytes': round(4e-6 * parameters, 3),
    'gigaflops_per_image': round(flops / images / 1e9, 3),
    'collectives': {
      kind: {
        'count': sum(k == kind for k, _ in sent),
        'megabytes': round(1e-6 * sum(s for k, s in sent if k == kind), 4),
      }
      for kind in kinds
    },
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


def lower(
  pair: tuple[str, str],
  method: str,
  classes: int,
  shape: tuple[int, ...],
  batch_size: int,
) -> tuple[Any, int]:
  """The sharded step before it is compiled, and the student's parameters."""
  networks = [
    models.create(name, num_classes=classes, dtype=jnp.bfloat16)
    for name in pair
  ]
  parts = Parts(
    student=networks[1],
    teacher=networks[0],
    method=methods.create(method),
    task=SingleLabel(),
    augment=Augmentation(flip=True),
    optimizer=Recipe(batch_size=batch_size).optimizer(1),
    steps_per_epoch=1,
  )
  labels = np.zeros(batch_size, np.int32)
  split = Split(np.zeros((batch_size, *shape), np.uint8), labels)
  program = Program(parts, first_devices(DEVICES), split, batch_size)
  variables = networks[0].describe(shape).variables
  state = init_state(parts, jax.random.key(0), shape, batch_size, variables)
  carry = (state, program.init_sums(state, variables))
  step = jax.jit(program.one_step, donate_argnums=0)

  def place(tree):
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=program.devices.everywhere
      ),
      tree,
    )

  lowered = step.lower(place(carry), place(variables), program.batch_shapes())
  student = jax.tree.leaves(state.params['student'])
  return lowered, sum(math.prod(leaf.shape) for leaf in student)


def _bytes(kind: str, bits: str, sizes: str) -> int:
  width = 1 if kind == 'pred' else int(bits) // 8
  return width * math.prod(int(size) for size in sizes.split(',') if size)


def main() -> None:
  jax.config.update('jax_num_cpu_devices', DEVICES)
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rows', type=int, default=len(ROWS))
  flags = parser.parse_args()
  rows = []
  for row in ROWS[: flags.rows]:
    print(f'compiling {row[0]}:{row[1]} {row[2]}', flush=True)
    rows.append(measure(*row))
  _record.record('collectives', rows)


if __name__ == '__main__':
  main()
