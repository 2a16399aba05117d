"""The only file that knows devices."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from kdjax.typing import PyTree


@dataclasses.dataclass(frozen=True)
class Devices:
  """A mesh: examples are split over all of it, the rest is everywhere.

  A frozen teacher's parameters are split over its second axis.

  Attributes:
    mesh: With the axes `data` and `fsdp`, whose length may be one.
  """

  mesh: Mesh

  @property
  def count(self) -> int:
    """Devices in the mesh, over all processes."""
    return self.mesh.size

  @property
  def everywhere(self) -> NamedSharding:
    """How arrays lie that are whole on every device."""
    return NamedSharding(self.mesh, PartitionSpec())

  @property
  def is_main(self) -> bool:
    """Whether this is the process that reads and writes work folders."""
    return jax.process_index() == 0

  def any(self, flag: bool) -> bool:
    """Whether the flag is set in any process; all processes must ask."""
    if jax.process_count() == 1:
      return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())

  def of_first(self, number: int) -> int:
    """The first process's number, in every process; all must ask."""
    if jax.process_count() == 1:
      return number
    return int(multihost_utils.broadcast_one_to_all(np.asarray(number)))

  def read(
    self, reader: Callable[[], PyTree | None], like: PyTree
  ) -> PyTree | None:
    """What the first process reads, in every process; all must ask.

    Args:
      reader: Called in the first process alone; may give `None`.
      like: Arrays of the shapes and dtypes that it gives.
    """
    found = reader() if self.is_main else None
    if jax.process_count() == 1 or not self.any(found is not None):
      return found
    if found is None:
      found = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), like)
    # One by one: all of a large teacher may not fit a device.
    return jax.tree.map(multihost_utils.broadcast_one_to_all, found)

  def in_turn(self, load: Callable[[], Any]) -> Any:
    """What `load` gives in each process, the first one having been there.

    For sets on a shared disk, which one process downloads and the rest find.
    """
    if jax.process_count() == 1:
      return load()
    loaded = load() if self.is_main else None
    multihost_utils.sync_global_devices('in_turn')
    return loaded if self.is_main else load()

  def replicate(self, tree: PyTree) -> PyTree:
    """The tree on every device; all processes must hold the same values."""
    return jax.tree.map(lambda array: _place(array, self.everywhere), tree)

  def shard(self, tree: PyTree) -> PyTree:
    """Parameters over the `fsdp` axis; all processes hold the same values.

    Each array is split along the longest of its axes that can be, and whole on
    every device where none can. The compiler gathers what a layer needs.
    """
    return jax.tree.map(
      lambda array: _place(array, self._by_parameter(array.shape)), tree
    )

  def memory_bytes(self) -> int | None:
    """What JAX may take of the smallest device of this process, if known."""
    found = [d.memory_stats() for d in self.mesh.local_devices]
    if not all(found):
      return None
    return min(stats['bytes_limit'] for stats in found if stats)

  def rows(self, count: int) -> np.ndarray:
    """Which of a batch's rows the devices of this process hold, ascending."""
    layout = self._by_example(count)
    held = layout.addressable_devices_indices_map((count,)).values()
    return np.unique([np.arange(count)[index] for index in held])

  def spread(self, share: PyTree, count: int) -> PyTree:
    """A batch of the host, its first axis over the devices if they divide it.

    Args:
      share: The batch's `rows(count)`, of each array.
      count: Rows of the whole batch.
    """
    layout, rows = self._by_example(count), self.rows(count)

    def place(array):
      if jax.process_count() == 1:
        return jax.device_put(array, layout)

      def part(index):
        start, stop, _ = index[0].indices(count)
        first = np.searchsorted(rows, start)
        return array[first : first + stop - start]

      shape = (count, *array.shape[1:])
      return jax.make_array_from_callback(shape, layout, part)

    return jax.tree.map(place, share)

  def local(self, tree: PyTree) -> PyTree:
    """Replicated arrays as this process's own, to compute with outside jit."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)

  def awaited(self, tree: PyTree) -> PyTree:
    """The tree; where a CPU is several devices, when it has been computed.

    For what does not depend on what was asked for before. The devices of a CPU
    share its threads, and of two such computations in flight one can hold them
    all while it waits for what a device of the other one would tell it.
    """
    cpu = self.mesh.devices.flat[0].platform == 'cpu'
    return jax.block_until_ready(tree) if cpu and self.count > 1 else tree

  def split(self, batch: PyTree) -> PyTree:
    """Inside jit: the first axis of every array over the devices.

    A batch that the devices do not divide (the last of an epoch) stays whole on
    each of them: the numbers are the same, only the work is done many times.
    """
    if self.count == 1:
      return batch

    return jax.tree.map(
      lambda array: jax.lax.with_sharding_constraint(
        array, self._by_example(array.shape[0])
      ),
      batch,
    )

  def gather(self, tree: PyTree) -> PyTree:
    """Inside jit: every array whole on each device again."""
    if self.count == 1:
      return tree
    return jax.tree.map(
      lambda array: jax.lax.with_sharding_constraint(array, self.everywhere),
      tree,
    )

  def _by_example(self, count: int) -> NamedSharding:
    """How arrays of so many rows lie: split, if the devices divide them."""
    axes = self.mesh.axis_names if count % self.count == 0 else None
    return NamedSharding(self.mesh, PartitionSpec(axes))

  def _by_parameter(self, shape: tuple[int, ...]) -> NamedSharding:
    """How a parameter lies: split along its longest axis that can be."""
    parts = self.mesh.shape['fsdp']
    fits = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or not fits:
      return self.everywhere
    longest = max(fits, key=lambda axis: shape[axis])
    return NamedSharding(self.mesh, PartitionSpec(*[None] * longest, 'fsdp'))


@dataclasses.dataclass(frozen=True)
class Lanes:
  """Devices side by side, each of which does something of its own.

  Attributes:
    mesh: With the one axis `lane`.
  """

  mesh: Mesh

  @property
  def count(self) -> int:
    """How many there are."""
    return self.mesh.size

  def everywhere(self, tree: PyTree) -> PyTree:
    """The tree on every device."""
    layout = NamedSharding(self.mesh, PartitionSpec())
    return jax.tree.map(lambda array: _place(array, layout), tree)

  def spread(self, trees: Sequence[PyTree]) -> PyTree:
    """One tree for each lane, as one tree whose first axis is the lane."""
    layout = NamedSharding(self.mesh, PartitionSpec('lane'))

    def stacked(*arrays):
      pieces = [
        jax.device_put(array[None], device)
        for array, device in zip(arrays, self.mesh.devices.flat)
      ]
      shape = (self.count, *arrays[0].shape)
      return jax.make_array_from_single_device_arrays(shape, layout, pieces)

    return jax.tree.map(functools.partial(_of_data, stacked), *trees)

  def collect(self, tree: PyTree) -> list[PyTree]:
    """What `spread` was given, each on the device of its lane."""
    leaves, form = jax.tree.flatten(tree)
    rows = zip(*(_of_data(_rows, leaf) for leaf in leaves))
    return [jax.tree.unflatten(form, row) for row in rows]

  def map(
    self, function: Callable[..., PyTree], shared: Sequence[bool]
  ) -> Callable[..., PyTree]:
    """The function in each lane by itself, to be compiled.

    Args:
      function: Of arrays without the first axis.
      shared: Which of its arguments are the same in all lanes; the others, and
        what it gives, are as `spread` makes them.
    """

    def in_lane(*arguments):
      own = [
        one if same else jax.tree.map(lambda array: array[0], one)
        for one, same in zip(arguments, shared)
      ]
      return jax.tree.map(lambda array: array[None], function(*own))

    everywhere, lane = PartitionSpec(), PartitionSpec('lane')
    return jax.shard_map(
      in_lane,
      mesh=self.mesh,
      in_specs=tuple(everywhere if same else lane for same in shared),
      out_specs=lane,
      check_vma=False,
    )


def lanes(count: int) -> Lanes:
  """The first `count` devices, each for itself."""
  return Lanes(
    jax.make_mesh(
      (count,),
      ('lane',),
      axis_types=(AxisType.Auto,),
      devices=jax.devices()[:count],
    )
  )


def all_devices(fsdp: int = 1) -> Devices:
  """Every device of every process; see `first_devices`."""
  return first_devices(jax.device_count(), fsdp)


def first_devices(count: int, fsdp: int = 1) -> Devices:
  """The first `count` devices.

  Args:
    count: How many, over all processes.
    fsdp: Over how many neighbours a teacher's parameters are split.

  Raises:
    ValueError: If there are fewer, or `fsdp` does not divide them.
  """
  if not 1 <= count <= jax.device_count():
    raise ValueError(
      f'{count} devices were asked for; this machine has {jax.device_count()}.'
    )
  if fsdp < 1 or count % fsdp:
    raise ValueError(
      f'fsdp must divide the number of devices, got {fsdp} and {count}.'
    )
  return Devices(
    jax.make_mesh(
      (count // fsdp, fsdp),
      ('data', 'fsdp'),
      axis_types=(AxisType.Auto, AxisType.Auto),
      devices=jax.devices()[:count],
    )
  )


def _place(array: Any, layout: NamedSharding) -> jax.Array:
  """An array on the devices; all processes must hold the same values."""
  return _of_data(lambda data: _put(data, layout), array)


def _of_data(function: Callable[..., PyTree], *arrays: Any) -> PyTree:
  """The function of some arrays; of typed keys, of their data, wrapped again.

  Not all that places and takes apart arrays knows typed keys.
  """
  first = arrays[0]
  if not isinstance(first, jax.Array) or not jnp.issubdtype(
    first.dtype, jax.dtypes.prng_key
  ):
    return function(*arrays)
  impl = jax.random.key_impl(first)
  return jax.tree.map(
    lambda data: jax.random.wrap_key_data(data, impl=impl),
    function(*map(jax.random.key_data, arrays)),
  )


def _put(array: Any, layout: NamedSharding) -> jax.Array:
  if jax.process_count() == 1:
    return jax.device_put(array, layout)
  host = np.asarray(array)
  return jax.make_array_from_callback(
    host.shape, layout, lambda index: host[index]
  )


def _rows(array: jax.Array) -> list[jax.Array]:
  """The parts of an array whose first axis is the lane, in order."""
  pieces = sorted(
    array.addressable_shards, key=lambda piece: piece.index[0].start or 0
  )
  return [piece.data[0] for piece in pieces]
