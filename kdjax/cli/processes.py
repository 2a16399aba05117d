"""Processes and devices of a command."""

import dataclasses
import sys

from kdjax.runtime.cpu_devices import share_cores, use_cores
from kdjax.runtime.mesh import Devices, all_devices
from kdjax.runtime.processes import in_cluster, start_processes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
  """Processes and devices of a command.

  The same command is run by each process.

  Attributes:
    distributed: Join the other processes of a TPU pod whose machines do not
      announce them. Processes started by Slurm or Open MPI join without it.
    alone: Do not join the processes that Slurm or Open MPI started.
    coordinator: HOST:PORT of the first process, where nothing announces it.
    num_processes: Number of processes; for --coordinator.
    process_id: Number of this process, from 0; for --coordinator. Process 0
      writes the work folder.
    connect_seconds: Longest time in which the processes must find each other.
    fsdp: Number of devices that each parameter of a teacher is split over, for
      a teacher that does not fit one; a divisor of the number of devices.
    cpu_devices: Number of devices that a CPU counts as; they share each batch
      (default: one for each core that gets at least 16 images; one in
      experiments.digits, whose images are too small, and with several
      processes).
  """

  distributed: bool = False
  alone: bool = False
  coordinator: str | None = None
  num_processes: int | None = None
  process_id: int | None = None
  connect_seconds: int = 45
  fsdp: int = 1
  cpu_devices: int | None = None

  def start(self, batch_size: int | None = None) -> Devices:
    """Joins the other processes, if there are any, and returns all devices.

    Args:
      batch_size: Images per step, which the cores of a CPU may share (default:
        they do not).

    Raises:
      ValueError: If flags contradict each other, or the processes do not find
        each other.
    """
    has_coordinator = self.coordinator is not None
    if self.alone and (has_coordinator or self.distributed):
      raise ValueError(
        '--alone contradicts --distributed and --coordinator; give one of them.'
      )
    if self.connect_seconds < 1:
      raise ValueError(
        f'connect_seconds must be at least 1, got {self.connect_seconds}.'
      )
    launched = in_cluster() and not self.alone
    numbers = self.num_processes, self.process_id
    if has_coordinator and not launched and None in numbers:
      raise ValueError(
        f'--coordinator={self.coordinator} needs --num_processes and '
        '--process_id too.'
      )
    several = has_coordinator or self.distributed or launched
    if self.cpu_devices is not None:
      use_cores(self.cpu_devices)
    elif batch_size is not None and not several:
      share_cores(batch_size)
    if several:
      start_processes(
        self.coordinator,
        *numbers,
        seconds=self.connect_seconds,
        say=lambda message: print(message, file=sys.stderr, flush=True),
      )
    elif self.num_processes is not None or self.process_id is not None:
      raise ValueError(
        '--num_processes and --process_id are for --coordinator=HOST:PORT or '
        '--distributed; give one of them.'
      )
    return all_devices(self.fsdp)
