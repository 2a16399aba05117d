"""Gray images and networks that take color, and the other way around."""

import jax
import pytest

from experiments import imagenet, multilabel
from kdjax import convert, data, models


@pytest.mark.parametrize(
  ('stored', 'wanted', 'flag'), [(3, 1, 'rgb'), (1, 3, 'gray')]
)
def test_weights_for_other_channels_name_the_flag(
  tmp_path, stored, wanted, flag
):
  network = models.create('convnet_4_8', num_classes=10)
  path = tmp_path / 'weights.safetensors'
  made = network.initialize(jax.random.key(0), (8, 8, stored))
  convert.save_safetensors(path, made)
  template = network.describe((8, 8, wanted)).variables
  with pytest.raises(ValueError, match=f'give --channels={flag} to read'):
    convert.load(path, template, network='convnet_4_8')


@pytest.mark.parametrize(('count', 'flag'), [(1, 'rgb'), (3, 'gray')])
def test_constants_of_other_channels_name_the_flag(count, flag):
  own = convert.Normalization(count * (0.5,), count * (0.5,))
  other = (4 - count) * (0.5,)
  with pytest.raises(ValueError, match=f'Give --channels={flag}'):
    convert.normalization(None, 'resnet8', default=own, mean=other, std=other)


def test_known_datasets_are_converted(tmp_path):
  rgb = data.load('digits', data_dir=tmp_path, channels='rgb')
  gray = data.load('digits', data_dir=tmp_path)
  assert rgb.image_shape == (8, 8, 3)
  assert (rgb.train.images == gray.train.images).all()
  assert rgb.mean == 3 * gray.mean
  assert rgb.std == 3 * gray.std


@pytest.mark.parametrize('command', [imagenet, multilabel])
def test_streamed_images_are_in_color(command):
  assert command.Config(channels='rgb').channels == 'rgb'
  with pytest.raises(ValueError, match='channels must be rgb'):
    command.Config(channels='gray')
