"""One command on several machines."""

import dataclasses

from kdjax.train import start_processes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
  """One comparison on several machines, by the same command on each.

  Attributes:
    distributed: Join the others; TPU pods, Slurm and Open MPI say where.
    coordinator: HOST:PORT of the first process, where nothing says so.
    num_processes: How many there are then.
    process_id: The number of this one then, from 0; 0 writes the work folder.
  """

  distributed: bool = False
  coordinator: str | None = None
  num_processes: int | None = None
  process_id: int | None = None

  def start(self) -> None:
    """Joins the others, if there are any."""
    if self.distributed or self.coordinator is not None:
      start_processes(self.coordinator, self.num_processes, self.process_id)
    elif self.num_processes is not None or self.process_id is not None:
      raise ValueError(
        '--num_processes and --process_id are for --coordinator=HOST:PORT or '
        '--distributed; give one of them.'
      )
