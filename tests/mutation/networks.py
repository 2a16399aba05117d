"""Faults of layers and networks."""

from tests.mutation.catalog import Mutation, mutations_of

_IMAGENET = 'tests/golden/test_imagenet_networks.py::test_network'
_CIFAR = 'tests/golden/test_networks.py::test_committed_values_match'
_VIT = f'{_IMAGENET}[vit_tiny_patch16]'

MUTATIONS: list[Mutation] = [
  *mutations_of(
    'kdjax/models/zoo.py',
    'tests/golden/test_imagenet_networks.py',
    (
      'relu6_is_relu',
      "'activation': nn.relu6,",
      "'activation': nn.relu,",
      f'{_IMAGENET}[imagenet_mobilenet_v2]',
    ),
    (
      'mobilenet_v2_expands_by_one',
      "'expand_always': False,",
      "'expand_always': True,",
      f'{_IMAGENET}[imagenet_mobilenet_v2]',
    ),
  ),
  *mutations_of(
    'kdjax/models/mobilenet_v1.py',
    'tests/golden/test_imagenet_networks.py',
    (
      'mobilenet_v1_without_its_middle_relu',
      'x = nn.relu(conv_bn(x, 1, x.shape[-1], 3, self.strides, groups=0))',
      'x = conv_bn(x, 1, x.shape[-1], 3, self.strides, groups=0)',
      f'{_IMAGENET}[imagenet_mobilenet_v1]',
    ),
    (
      'mobilenet_v1_halves_in_another_block',
      'halves_at = 1 if index == 0 else 0',
      'halves_at = 1',
      f'{_IMAGENET}[imagenet_mobilenet_v1]',
    ),
  ),
  *mutations_of(
    'kdjax/models/mobilenet_v2.py',
    'tests/golden/test_imagenet_networks.py',
    (
      'mobilenet_v2_linear_depthwise',
      'y = self.activation(conv_bn(y, 2, wide, 3, self.strides, groups=0))',
      'y = conv_bn(y, 2, wide, 3, self.strides, groups=0)',
      f'{_IMAGENET}[imagenet_mobilenet_v2]',
    ),
    (
      'mobilenet_v2_without_shortcut',
      'return x + y if x.shape == y.shape else y',
      'return y',
      f'{_IMAGENET}[imagenet_mobilenet_v2]',
    ),
  ),
  *mutations_of(
    'kdjax/models/vit.py',
    'tests/golden/test_imagenet_networks.py',
    ('vit_gelu_by_tanh', 'approximate=False', 'approximate=True', _VIT),
    ('vit_layer_norm_epsilon', 'epsilon=1e-6', 'epsilon=1e-5', _VIT),
    (
      'vit_without_second_residual',
      "return x + _linear(width, self.dtype, 'fc2')(y)",
      "return _linear(width, self.dtype, 'fc2')(y)",
      _VIT,
    ),
    ('vit_without_first_residual', '    x = x + y\n', '    x = y\n', _VIT),
    (
      'vit_scale_of_the_whole_width',
      'scores * q.shape[-1] ** -0.5',
      'scores * width**-0.5',
      _VIT,
    ),
    (
      'vit_without_positions',
      'return _output(x + positions.astype(self.dtype))',
      'return _output(x)',
      _VIT,
    ),
  ),
  *mutations_of(
    'kdjax/models/blocks.py',
    'tests/golden/test_imagenet_networks.py',
    (
      'stem_pools_2_by_2',
      'x = windows.max_pool(x, 3, 2, padding=1)',
      'x = windows.max_pool(x, 2, 2)',
      f'{_IMAGENET}[imagenet_resnet50]',
    ),
    (
      'stage_without_relu_between',
      'if index > 0 and self.relu_between:',
      'if index > 0 and not self.relu_between:',
      f'{_IMAGENET}[imagenet_resnet50]',
    ),
  ),
  *mutations_of(
    'kdjax/models/resnet.py',
    'tests/models/test_residual.py',
    (
      'basic_block_without_relu',
      'y = conv_bn(nn.relu(y), 2, self.width)\n',
      'y = conv_bn(y, 2, self.width)\n',
      f'{_CIFAR}[resnet8_seed0]',
    ),
    (
      'bottleneck_strides_first',
      'y = conv_bn(x, 1, self.width // 4, 1)\n'
      '    y = conv_bn(nn.relu(y), 2, self.width // 4, 3, self.strides)',
      'y = conv_bn(x, 1, self.width // 4, 1, self.strides)\n'
      '    y = conv_bn(nn.relu(y), 2, self.width // 4, 3)',
      f'{_IMAGENET}[imagenet_resnet50]',
    ),
    (
      'padded_shortcut_on_one_side',
      'before = new // 2',
      'before = new',
      'test_a_padded_shortcut_has_zeros_on_both_sides',
    ),
    (
      'pooled_pixels_before_channels',
      'return means.transpose(0, 3, 1, 2).reshape(batch, -1)',
      'return means.reshape(batch, -1)',
      'test_windows_are_flattened_channels_first',
    ),
  ),
  *mutations_of(
    'kdjax/models/wrn.py',
    'tests/golden/test_networks.py',
    (
      'wide_shortcut_of_raw_input',
      "name='shortcut_conv'\n      )(active)",
      "name='shortcut_conv'\n      )(x)",
      f'{_CIFAR}[wrn_16_1_seed0]',
    ),
    (
      'wide_second_relu_gone',
      "name='conv2')(nn.relu(y))",
      "name='conv2')(y)",
      f'{_CIFAR}[wrn_16_1_seed0]',
    ),
  ),
  *mutations_of(
    'kdjax/models/shufflenet.py',
    'tests/models/test_residual.py',
    (
      'channels_not_shuffled',
      'return mixed.swapaxes(-1, -2).reshape(x.shape)',
      'return mixed.reshape(x.shape)',
      'test_neighboring_channels_come_from_different_groups',
    ),
  ),
  *mutations_of(
    'kdjax/models/stack.py',
    'tests/models/test_pooling.py',
    (
      'sum_of_both_poolings',
      '(layers.global_mean(x) + layers.global_max(x)) / 2',
      'layers.global_mean(x) + layers.global_max(x)',
      'test_embedding_is_mean_maximum_or_average_of_both',
    ),
  ),
  *mutations_of(
    'kdjax/models/folding.py',
    'tests/models/test_folding.py',
    (
      'folded_without_epsilon',
      'np.sqrt(var + np.float32(epsilon))',
      'np.sqrt(var * np.float32(1 + 0 * epsilon) + np.float32(1e-2))',
      'test_folded_features_match',
    ),
    (
      'folded_mean_not_scaled',
      'bias + (own - mean) * factor',
      'bias + own * factor - mean',
      'test_folded_features_match',
    ),
  ),
  *mutations_of(
    'kdjax/layers/batch_norm.py',
    'tests/layers/test_modules.py',
    (
      'norm_epsilon',
      'epsilon: float = 1e-5',
      'epsilon: float = 1e-3',
      f'{_CIFAR}[resnet8_seed0]',
    ),
    (
      'norm_keeps_the_biased_variance',
      'unbiased = var * (count / max(count - 1, 1))',
      'unbiased = var',
      'BatchNormTest::'
      'test_variance_is_biased_in_the_batch_and_unbiased_in_statistics',
    ),
    (
      'norm_momentum',
      'momentum: float = 0.1',
      'momentum: float = 0.01',
      'BatchNormTest::'
      'test_variance_is_biased_in_the_batch_and_unbiased_in_statistics',
    ),
    (
      'norm_derivative_of_the_variance',
      'return (mean, var), (dx.mean(axes), 2 * ((x - mean) * dx).mean(axes))',
      'return (mean, var), (dx.mean(axes), 2 * (x * dx).mean(axes))',
      'tests/layers/test_moments.py::'
      'test_derivatives_of_moments_match_their_formula',
    ),
  ),
  *mutations_of(
    'kdjax/layers/windows.py',
    'tests/layers/test_windows.py',
    (
      'zeros_around_a_maximum',
      'shifted = windows(x, size, strides, padding, -jnp.inf)',
      'shifted = windows(x, size, strides, padding, 0.0)',
      'PoolTest::test_padding_of_max_pooling_is_minus_infinity',
    ),
    (
      'mean_pool_divides_by_its_side',
      'functools.reduce(jnp.add, shifted) / size**2',
      'functools.reduce(jnp.add, shifted) / size',
      'PoolTest',
    ),
    (
      'depthwise_gradient_of_the_unflipped_kernel',
      'depthwise(dilated, kernel[::-1, ::-1], 1, 0)',
      'depthwise(dilated, kernel, 1, 0)',
      'DepthwiseTest',
    ),
  ),
  *mutations_of(
    'kdjax/layers/modules.py',
    'tests/layers/test_modules.py',
    (
      'convolution_spreads_by_its_inputs',
      "variance_scaling(2.0, 'fan_out', 'normal')",
      "variance_scaling(2.0, 'fan_in', 'normal')",
      'InitialWeightsTest::test_convolution_standard_deviation_depends_on_its_outputs',
    ),
  ),
  *mutations_of(
    'kdjax/network.py',
    'tests/golden/test_imagenet_networks.py',
    (
      'images_not_divided_by_std',
      'return (images - mean) / jnp.asarray(self.std, images.dtype)',
      'return images - mean',
      'test_evaluation_views_are_torchvisions_pixel_by_pixel',
    ),
  ),
]
