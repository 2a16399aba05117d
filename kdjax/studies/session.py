"""Input of every study from its command, and its result."""

import dataclasses

from etils import epath

from kdjax.runtime.mesh import Devices
from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import StopRequest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
  """One call of a command.

  Attributes:
    workdir: Work folder of the study.
    devices: Devices that runs train on.
    request: Whether a signal has requested a stop.
    progress: Progress display.
  """

  workdir: epath.Path
  devices: Devices
  request: StopRequest
  progress: Progress


@dataclasses.dataclass(frozen=True)
class Study:
  """Result of a study.

  Attributes:
    workdir: Its folder; `report/report.html` is the report.
    has_runs: Whether anything was trained, so that there is a report.
    diverged: A message for each run whose loss stopped being finite.
  """

  workdir: epath.Path
  has_runs: bool = True
  diverged: tuple[str, ...] = ()
