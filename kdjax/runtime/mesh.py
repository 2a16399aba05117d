"""Devices: how arrays are laid out on them and moved between processes.

The only file that makes meshes and shardings.
"""

import dataclasses
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
  """Devices that share each batch and replicate everything else.

  Examples are sharded over the whole mesh; a frozen teacher's parameters may
  be sharded over its second axis.

  Attributes:
    mesh: Mesh with the axes `data` and `fsdp`, each of length one or more.
  """

  mesh: Mesh

  @property
  def count(self) -> int:
    """Number of devices, over all processes."""
    return self.mesh.size

  @property
  def replicated(self) -> NamedSharding:
    """Sharding of arrays that are replicated on every device."""
    return NamedSharding(self.mesh, PartitionSpec())

  @property
  def is_main(self) -> bool:
    """Whether this process reads and writes work folders."""
    return jax.process_index() == 0

  def jit(self, function: Callable[..., PyTree], **options: Any) -> Any:
    """Returns `jax.jit(function)` whose tracing knows the mesh.

    Losses that search step by step then keep their inputs whole on each device
    (`kdjax.losses.numerics.whole`): otherwise every iteration of the search
    would communicate.

    Args:
      function: Function to compile.
      **options: As for `jax.jit`.
    """
    compiled = jax.jit(function, **options)
    return compiled if self.count == 1 else _InMesh(compiled, self.mesh)

  def any(self, flag: bool) -> bool:
    """Returns whether the flag is set in any process; collective."""
    if jax.process_count() == 1:
      return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())

  def of_first(self, number: int) -> int:
    """Returns the first process's number in every process; collective."""
    if jax.process_count() == 1:
      return number
    return int(multihost_utils.broadcast_one_to_all(np.asarray(number)))

  def read(
    self, reader: Callable[[], PyTree | None], like: PyTree
  ) -> PyTree | None:
    """Returns in every process what the first process reads; collective.

    Args:
      reader: Called in the first process alone; may return `None`.
      like: Arrays of the shapes and dtypes that it returns.
    """
    tree = reader() if self.is_main else None
    if jax.process_count() == 1 or not self.any(tree is not None):
      return tree
    if tree is None:
      tree = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), like)
    # One array at a time: a large teacher may not fit a device whole.
    return jax.tree.map(multihost_utils.broadcast_one_to_all, tree)

  def in_turn(self, load: Callable[[], Any]) -> Any:
    """Returns what `load` returns in each process, the first one first.

    For datasets on a shared disk, which one process downloads for all.
    """
    if jax.process_count() == 1:
      return load()
    loaded = load() if self.is_main else None
    multihost_utils.sync_global_devices('in_turn')
    return loaded if self.is_main else load()

  def replicate(self, tree: PyTree) -> PyTree:
    """Returns the tree on every device; equal in all processes."""
    return jax.tree.map(lambda array: _put_any(array, self.replicated), tree)

  def shard(self, tree: PyTree) -> PyTree:
    """Returns parameters sharded over `fsdp`; equal in all processes.

    Each array is split along the longest axis that the devices divide, and
    whole on every device if there is none. The compiler gathers what a layer
    needs.
    """
    return jax.tree.map(
      lambda array: _put_any(array, self._parameter_sharding(array.shape)), tree
    )

  def memory_bytes(self) -> int | None:
    """Returns JAX's memory limit on this process's smallest device, if known.

    CPUs do not tell.
    """
    stats = [device.memory_stats() for device in self.mesh.local_devices]
    if not all(stats):
      return None
    return min(each['bytes_limit'] for each in stats if each)

  def rows(self, count: int) -> np.ndarray:
    """Returns the rows of a batch that this process's devices hold, sorted."""
    sharding = self._example_sharding(count)
    held = sharding.addressable_devices_indices_map((count,)).values()
    return np.unique([np.arange(count)[index] for index in held])

  def shard_batch(self, local_rows: PyTree, count: int) -> PyTree:
    """Returns a batch on the devices, examples sharded if they divide it.

    Args:
      local_rows: `rows(count)` of each array of the batch, on the host.
      count: Rows of the whole batch.
    """
    sharding, rows = self._example_sharding(count), self.rows(count)

    def put(array: np.ndarray) -> jax.Array:
      if jax.process_count() == 1:
        return jax.device_put(array, sharding)

      def shard_of(index: Any) -> np.ndarray:
        start, stop, _ = index[0].indices(count)
        first = np.searchsorted(rows, start)
        return array[first : first + stop - start]

      shape = (count, *array.shape[1:])
      return jax.make_array_from_callback(shape, sharding, shard_of)

    return jax.tree.map(put, local_rows)

  def local(self, tree: PyTree) -> PyTree:
    """Returns replicated arrays as this process's own, for use outside jit."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)

  def awaited(self, tree: PyTree) -> PyTree:
    """Returns the tree; on several CPU devices, once it has been computed.

    The devices of a CPU share its threads. Of two independent computations in
    flight, one can hold all threads while it waits for a message of the other.
    """
    cpu = self.mesh.devices.flat[0].platform == 'cpu'
    return jax.block_until_ready(tree) if cpu and self.count > 1 else tree

  def split(self, batch: PyTree) -> PyTree:
    """Shards the first axis of every array; inside jit.

    A batch that the devices do not divide (the last of an epoch) stays whole on
    each of them: the results are equal, only the work is repeated.
    """
    if self.count == 1:
      return batch
    return jax.tree.map(
      lambda array: jax.lax.with_sharding_constraint(
        array, self._example_sharding(array.shape[0])
      ),
      batch,
    )

  def gather(self, tree: PyTree) -> PyTree:
    """Replicates every array on each device; inside jit."""
    if self.count == 1:
      return tree
    return jax.tree.map(
      lambda array: jax.lax.with_sharding_constraint(array, self.replicated),
      tree,
    )

  def _example_sharding(self, count: int) -> NamedSharding:
    axes = self.mesh.axis_names if count % self.count == 0 else None
    return NamedSharding(self.mesh, PartitionSpec(axes))

  def _parameter_sharding(self, shape: tuple[int, ...]) -> NamedSharding:
    parts = self.mesh.shape['fsdp']
    divisible = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or not divisible:
      return self.replicated
    longest = max(divisible, key=lambda axis: shape[axis])
    return NamedSharding(self.mesh, PartitionSpec(*[None] * longest, 'fsdp'))


class _InMesh:
  """A jitted function that is called and lowered with a mesh set."""

  def __init__(self, compiled: Any, mesh: Mesh):
    self._compiled = compiled
    self._mesh = mesh

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    with jax.set_mesh(self._mesh):
      return self._compiled(*args, **kwargs)

  def lower(self, *args: Any, **kwargs: Any) -> Any:
    """Lowers the function as `jax.jit` does."""
    with jax.set_mesh(self._mesh):
      return self._compiled.lower(*args, **kwargs)


def all_devices(fsdp: int = 1) -> Devices:
  """Returns every device of every process; see `first_devices`."""
  return first_devices(jax.device_count(), fsdp)


def first_devices(count: int, fsdp: int = 1) -> Devices:
  """Returns the first devices.

  Args:
    count: Number of devices, over all processes.
    fsdp: Number of neighboring devices over which a teacher's parameters are
      sharded.

  Raises:
    ValueError: If there are fewer devices, or `fsdp` does not divide them.
  """
  if not 1 <= count <= jax.device_count():
    raise ValueError(
      f'{count} devices were asked for; this machine has {jax.device_count()}.'
    )
  if fsdp < 1 or count % fsdp:
    raise ValueError(
      f'fsdp must divide the number of devices, got {fsdp} and {count}.'
    )
  return _devices(jax.devices()[:count], fsdp)


def each_device() -> list[Devices]:
  """Returns every device of this process by itself."""
  return [_devices([device], 1) for device in jax.local_devices()]


def _devices(devices: Sequence[Any], fsdp: int) -> Devices:
  return Devices(
    jax.make_mesh(
      (len(devices) // fsdp, fsdp),
      ('data', 'fsdp'),
      axis_types=(AxisType.Auto, AxisType.Auto),
      devices=devices,
    )
  )


def _put_any(array: Any, sharding: NamedSharding) -> jax.Array:
  """Places an array or typed key; all processes must hold the same values."""
  # Some functions that place arrays do not support typed keys.
  if isinstance(array, jax.Array) and jnp.issubdtype(
    array.dtype, jax.dtypes.prng_key
  ):
    data = _put(jax.random.key_data(array), sharding)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
  return _put(array, sharding)


def _put(array: Any, sharding: NamedSharding) -> jax.Array:
  if jax.process_count() == 1:
    return jax.device_put(array, sharding)
  host = np.asarray(array)
  return jax.make_array_from_callback(
    host.shape, sharding, lambda index: host[index]
  )
