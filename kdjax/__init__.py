"""Knowledge distillation of vision networks in JAX and Flax.

Start with `kdjax.losses` (pure functions), `kdjax.methods.create('kd')`,
`kdjax.models.create('resnet8x4', num_classes=100)` and `kdjax.train`; or run
`python -m experiments.digits`. Subpackages are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from kdjax import (
    convert,
    data,
    features,
    losses,
    methods,
    models,
    report,
    runtime,
    studies,
    tasks,
    train,
  )

__version__ = '0.1.0'

__all__ = [
  'convert',
  'data',
  'features',
  'losses',
  'methods',
  'models',
  'report',
  'runtime',
  'studies',
  'tasks',
  'train',
]


def __getattr__(name: str) -> Any:
  """Imports a subpackage when it is first used."""
  if name in __all__:
    return importlib.import_module(f'kdjax.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  """Includes the subpackages, for tab completion."""
  return sorted({*globals(), *__all__})
