"""User-defined networks: dropout, and errors of invalid ones."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import data, models
from kdjax.features import Features
from kdjax.models import linen_network
from kdjax.train import train_step
from tests.train import support


class Dropped(nn.Module):
  """Logits whose hidden units are dropped in training."""

  num_classes: int = support.CLASSES
  dtype: type = jnp.float32

  @nn.compact
  def __call__(self, images, *, train):
    hidden = nn.relu(nn.Dense(32)(images.reshape(len(images), -1)))
    hidden = nn.Dropout(0.5, deterministic=not train)(hidden)
    logits = nn.Dense(self.num_classes)(hidden)
    maps = (hidden[:, None, None],)
    return Features(maps, maps, maps, hidden, logits)


NETWORK = linen_network(Dropped(), name='dropped')
KEYS = [jax.random.key(seed) for seed in (0, 1)]


def _logits(variables, key, *, train):
  images = jnp.ones((2, *support.IMAGE_SHAPE))
  variables = {**variables, 'rngs': {'dropout': key}}
  return NETWORK.apply(variables, images, train=train)[0].logits


def test_dropout_depends_on_the_key_in_training_mode_only():
  variables = NETWORK.initialize(KEYS[0], support.IMAGE_SHAPE)
  first, again, other = (
    _logits(variables, key, train=True) for key in (KEYS[0], *KEYS)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()
  one, two = (_logits(variables, key, train=False) for key in KEYS)
  np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize('role', ['student', 'teacher'])
def test_dropout_of_the_student_has_a_new_mask_in_every_step(role):
  parts = dataclasses.replace(
    support.parts('kd', **{role: NETWORK}), augment=data.Augmentation()
  )
  state, teacher = support.first_state(parts), support.teacher_variables(parts)
  step = jax.jit(functools.partial(train_step, parts=parts))
  losses = []
  for number in (0, 0, 1):
    at_step = dataclasses.replace(state, step=jnp.int32(number))
    _, metrics = step(at_step, teacher, support.first_batch())
    losses.append(float(metrics['loss']))
  assert losses[0] == losses[1]
  # A frozen teacher drops nothing.
  assert (losses[0] != losses[2]) == (role == 'student')


class WithoutTrain(nn.Module):
  """Called without `train`."""

  num_classes: int
  dtype: type = jnp.float32

  @nn.compact
  def __call__(self, images):
    return nn.Dense(self.num_classes)(images.reshape(len(images), -1))


class PlainLogits(nn.Module):
  """Returns logits instead of features."""

  num_classes: int
  dtype: type = jnp.float32

  @nn.compact
  def __call__(self, images, *, train):
    return nn.Dense(self.num_classes)(images.reshape(len(images), -1))


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (WithoutTrain, 'WithoutTrain.__call__ has no argument `train`'),
    (PlainLogits, r'mine returns .*; networks return kdjax.features.Features'),
    (lambda num_classes: None, 'is called with num_classes, dtype, and does'),
    (lambda num_classes, dtype: None, 'makes a NoneType; it must make a Linen'),
  ],
)
def test_invalid_networks_raise_an_error_before_training(
  monkeypatch, make, message
):
  monkeypatch.setitem(models.NETWORKS, 'mine', make)
  with pytest.raises(ValueError, match=message):
    models.create('mine', num_classes=3).describe((8, 8, 3))
