"""Layers with PyTorch's conventions, for networks and for what joins two."""

from kdjax.layers.convolution import conv2d, conv_transpose2d
from kdjax.layers.modules import (
  BatchNorm,
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
  'mean_in_float32',
  'torch_uniform',
  'zeros',
]
