"""Layers with PyTorch's conventions, for networks and bridges."""

from kdjax.layers.batch_norm import FOLDED, MARKER, BatchNorm, is_folded
from kdjax.layers.convolution import conv2d, conv_transpose2d
from kdjax.layers.modules import (
  Conv,
  ConvTranspose,
  Dense,
  Initializer,
  fan_out_normal,
  global_max,
  global_mean,
  mean_in_float32,
  torch_uniform,
  zeros,
)

__all__ = [
  'FOLDED',
  'MARKER',
  'BatchNorm',
  'Conv',
  'ConvTranspose',
  'Dense',
  'Initializer',
  'conv2d',
  'conv_transpose2d',
  'fan_out_normal',
  'global_max',
  'global_mean',
  'is_folded',
  'mean_in_float32',
  'torch_uniform',
  'zeros',
]
