"""Counting of collectives, and their modeled time."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks._hlo import Collective, collectives
from benchmarks.collectives import Chips, seconds
from kdjax.runtime.mesh import first_devices


def _compiled(function):
  """Returns the program of a function of float32 `[8, 4]` on two devices."""
  mesh = first_devices(2).mesh
  rows = NamedSharding(mesh, PartitionSpec('data'))
  whole = NamedSharding(mesh, PartitionSpec())
  shape = jax.ShapeDtypeStruct((8, 4), jnp.float32, sharding=rows)
  lowered = jax.jit(function, out_shardings=whole).lower(shape)
  return lowered.compile().as_text()


def test_collective_outside_of_loops():
  found = collectives(_compiled(lambda x: jnp.sum(x, axis=0)))
  assert found == [Collective('all-reduce', 16, in_loop=False)]


def test_collective_in_each_iteration_of_a_loop():
  def search(x):
    # The condition depends on the data: the loop cannot be unrolled.
    return jax.lax.while_loop(
      lambda total: jnp.sum(total) < 1e6,
      lambda total: total + jnp.sum(jnp.sin(x * total), axis=0),
      jnp.ones(4),
    )

  found = collectives(_compiled(search))
  assert {one.in_loop for one in found} == {True}
  assert sum(one.bytes for one in found) >= 16


HLO = """
HloModule jit_step, is_scheduled=true

%branch.1 (p: f32[2]) -> f32[2] {
  ROOT %all-reduce.1 = f32[2]{0} all-reduce(%p), to_apply=%add
}

%branch.2 (p: f32[2]) -> f32[2] {
  ROOT %copy.1 = f32[2]{0} copy(%p)
}

%body (p: (f32[2], pred[])) -> (f32[2], pred[]) {
  %conditional.1 = f32[2]{0} conditional(%i, %p, %p), branch_computations={%branch.1, %branch.2}
  ROOT %tuple.1 = (f32[2]{0}, pred[]) tuple(%conditional.1, %less)
}

%condition (p: (f32[2], pred[])) -> pred[] {
  ROOT %all-gather.2 = pred[8]{0} all-gather(%q), dimensions={0}
}

ENTRY %main (x: f32[2]) -> f32[2] {
  %while.1 = (f32[2]{0}, pred[]) while(%tuple.0), condition=%condition, body=%body
  %all-reduce.3 = (f32[2]{0}, bf16[3,2]{1,0}) all-reduce-start(%x, %y), to_apply=%add
  ROOT %call.1 = f32[2]{0} call(%x), to_apply=%branch.1
}
"""  # noqa: E501


def test_branches_conditions_and_calls_are_searched():
  assert sorted(collectives(HLO)) == [
    Collective('all-gather', 8, in_loop=True),
    Collective('all-reduce', 8, in_loop=False),
    Collective('all-reduce', 8, in_loop=True),
    Collective('all-reduce', 8 + 12, in_loop=False),
  ]


def test_text_without_entry_raises_an_error():
  with pytest.raises(ValueError, match='no ENTRY'):
    collectives('module @jit_step {}')


def test_modeled_time_of_ring_collectives():
  chips = Chips(flops=1.0, near=100.0, far=10.0, box=4, hop=0.5)
  gather = Collective('all-gather', 40, in_loop=False)
  reduce = Collective('all-reduce', 40, in_loop=False)
  assert seconds([gather], 4, chips) == 30 / 100 + 2 * 0.5
  assert seconds([reduce], 4, chips) == 2 * (30 / 100 + 2 * 0.5)
  # Eight chips are more than one machine.
  assert seconds([gather], 8, chips) == 35 / 10 + 3 * 0.5
