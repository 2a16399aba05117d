"""Distillation methods by name; `create('kd+kd2m')` combines two."""

from kdjax.methods.base import Context, Method, TrainSpec, Updates
from kdjax.methods.combination import Combination, combine
from kdjax.methods.fcfd import Fcfd
from kdjax.methods.icd import Icd
from kdjax.methods.kd import Kd
from kdjax.methods.kd2m import Kd2m
from kdjax.methods.lshfm import Lshfm
from kdjax.methods.passes import Pass
from kdjax.methods.registry import METHODS, create, from_json, is_known
from kdjax.methods.ssim import Ssim
from kdjax.methods.supervised import Supervised

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
  'TrainSpec',
  'Updates',
  'combine',
  'create',
  'from_json',
  'is_known',
]
