"""Training of one pair of networks: from a batch to a finished run.

`train_step` is one pure update, `Parts` its components; `Program` with
`ResidentEpochs` or `StreamedEpochs` compiles whole epochs of it; `Run`
describes a run in a folder, and `train` trains it.
"""

from kdjax.train.attempt import DivergedError
from kdjax.train.epochs import Program, count_steps
from kdjax.train.loop import train
from kdjax.train.parts import Parts, init_state
from kdjax.train.recipe import Recipe
from kdjax.train.resident import ResidentEpochs
from kdjax.train.run import Run, RunSettings
from kdjax.train.stages import StagedRecipe
from kdjax.train.state import Carry, Frozen, TrainState
from kdjax.train.step import train_step
from kdjax.train.streamed import StreamedEpochs

__all__ = [
  'Carry',
  'DivergedError',
  'Frozen',
  'Parts',
  'Program',
  'Recipe',
  'ResidentEpochs',
  'Run',
  'RunSettings',
  'StagedRecipe',
  'StreamedEpochs',
  'TrainState',
  'count_steps',
  'init_state',
  'train',
  'train_step',
]
