"""Distillation methods by name; `create('kd+kd2m')` combines two."""

from kdjax.methods.base import Context, Method, Pass, Updates
from kdjax.methods.combination import Combination, combine
from kdjax.methods.fcfd import Fcfd
from kdjax.methods.icd import Icd
from kdjax.methods.kd import Kd
from kdjax.methods.kd2m import Kd2m
from kdjax.methods.lshfm import Lshfm
from kdjax.methods.ssim import Ssim
from kdjax.methods.supervised import Supervised
from kdjax.names import unknown

METHODS: dict[str, type[Method]] = {
  'none': Supervised,
  'fcfd': Fcfd,
  'icd': Icd,
  'dcd': Icd,  # its later name
  'kd': Kd,
  'kd2m': Kd2m,
  'lshfm': Lshfm,
  'ssim': Ssim,
}


def create(name: str) -> Method:
  """The method of a name with its paper's defaults; names combine by `+`.

  Raises:
    ValueError: If there is none of that name, or they cannot be combined.
  """
  names = name.split('+')
  for part in names:
    if part not in METHODS:
      raise ValueError(unknown('method', part, METHODS))
  if len(names) == 1:
    return METHODS[name]()
  if 'none' in names or len(set(names)) < len(names):
    raise ValueError(
      f'Method {name!r} must combine different methods, without none.'
    )
  return combine({part: METHODS[part]() for part in names})


__all__ = [
  'METHODS',
  'Combination',
  'Context',
  'Fcfd',
  'Icd',
  'Kd',
  'Kd2m',
  'Lshfm',
  'Method',
  'Pass',
  'Ssim',
  'Supervised',
  'Updates',
  'combine',
  'create',
]
