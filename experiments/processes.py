"""One command on several machines."""

import dataclasses

from kdjax.train import Devices, all_devices, in_cluster, start_processes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
  """One comparison on several machines, by the same command on each.

  Attributes:
    distributed: Join the others of a TPU pod, where nothing says that there
      are any. What Slurm or Open MPI started several times joins unasked.
    alone: Do not join the others that Slurm or Open MPI started.
    coordinator: HOST:PORT of the first process, where nothing says so.
    num_processes: How many there are then.
    process_id: The number of this one then, from 0; 0 writes the work folder.
    fsdp: Over how many chips each parameter of a teacher is split, where the
      whole of it does not fit one; a divisor of their number.
  """

  distributed: bool = False
  alone: bool = False
  coordinator: str | None = None
  num_processes: int | None = None
  process_id: int | None = None
  fsdp: int = 1

  def start(self) -> Devices:
    """Joins the others, if there are any; gives the devices of all."""
    told = self.coordinator is not None
    if self.alone and (told or self.distributed):
      raise ValueError(
        '--alone is against --distributed and --coordinator; give one of them.'
      )
    if told or self.distributed or (in_cluster() and not self.alone):
      start_processes(self.coordinator, self.num_processes, self.process_id)
    elif self.num_processes is not None or self.process_id is not None:
      raise ValueError(
        '--num_processes and --process_id are for --coordinator=HOST:PORT or '
        '--distributed; give one of them.'
      )
    return all_devices(self.fsdp)
