"""Training: one pure step, many of them per dispatch, in resumable runs."""

from kdjax.train.config import StudyConfig
from kdjax.train.cores import cores_for, share_cores, use_cores
from kdjax.train.interrupts import Interrupted, StopRequest, stop_on_signals
from kdjax.train.loop import DivergedError
from kdjax.train.mesh import Devices, all_devices, first_devices
from kdjax.train.parts import Parts, init_state
from kdjax.train.processes import in_cluster, lost_process, start_processes
from kdjax.train.program import Program
from kdjax.train.progress import Progress
from kdjax.train.recipe import Recipe
from kdjax.train.run import Run, RunSettings
from kdjax.train.staging import StagedRecipe
from kdjax.train.state import TrainState
from kdjax.train.step import train_step
from kdjax.train.streamed import StreamedProgram
from kdjax.train.study import Comparison, Study
from kdjax.train.timing import Timing
from kdjax.train.transfer import Transfer, TransferConfig

__all__ = [
  'Comparison',
  'Devices',
  'DivergedError',
  'Interrupted',
  'Parts',
  'Program',
  'Progress',
  'Recipe',
  'Run',
  'RunSettings',
  'StagedRecipe',
  'StopRequest',
  'StreamedProgram',
  'Study',
  'StudyConfig',
  'TrainState',
  'Timing',
  'Transfer',
  'TransferConfig',
  'all_devices',
  'cores_for',
  'first_devices',
  'in_cluster',
  'init_state',
  'lost_process',
  'share_cores',
  'start_processes',
  'stop_on_signals',
  'train_step',
  'use_cores',
]
