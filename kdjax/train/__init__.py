"""Training: one pure step, many of them per dispatch, in resumable runs."""

from kdjax.train.loop import DivergedError
from kdjax.train.parts import Parts, init_state
from kdjax.train.recipe import Recipe
from kdjax.train.resident import Program
from kdjax.train.run import Run, RunSettings
from kdjax.train.stages import StagedRecipe
from kdjax.train.state import TrainState
from kdjax.train.step import train_step
from kdjax.train.streamed import StreamedProgram

__all__ = [
  'DivergedError',
  'Parts',
  'Program',
  'Recipe',
  'Run',
  'RunSettings',
  'StagedRecipe',
  'StreamedProgram',
  'TrainState',
  'init_state',
  'train_step',
]
