"""Distances of a batch that is sharded over several devices."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kdjax import losses
from tests.losses import clouds

_DISTANCES = {
  'w2': losses.wasserstein2,
  'w2_gauss': losses.gaussian_wasserstein2,
  'w2_gauss_full': losses.gaussian_wasserstein2_full,
  'kl_gauss': losses.gaussian_kl,
  'mmd_rbf': losses.mmd_rbf,
}


def _mesh(devices):
  return jax.make_mesh(
    (devices,),
    ('data',),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:devices],
  )


@pytest.mark.parametrize('devices', [2, 8])
@pytest.mark.parametrize('name', _DISTANCES)
def test_sharded_value_and_gradient_match_one_device(name, devices):
  x, y, _ = clouds.make(0, 16, 6, kind='clustered')
  step = jax.value_and_grad(_DISTANCES[name])
  want, want_gradient = jax.jit(step)(x, y)
  mesh = _mesh(devices)
  rows = NamedSharding(mesh, PartitionSpec('data'))
  with jax.set_mesh(mesh):
    got, gradient = jax.jit(step)(*jax.device_put((x, y), rows))
  np.testing.assert_allclose(got, want, rtol=1e-5)
  np.testing.assert_allclose(
    gradient, want_gradient, atol=1e-5 * np.max(np.abs(want_gradient))
  )


def test_sharded_per_class_distance_matches_one_device():
  x, y, labels = clouds.make(0, 16, 6, kind='clustered')
  step = jax.value_and_grad(
    functools.partial(losses.per_class, losses.wasserstein2, classes=3)
  )
  want, want_gradient = jax.jit(step)(x, y, labels)
  mesh = _mesh(8)
  rows = NamedSharding(mesh, PartitionSpec('data'))
  with jax.set_mesh(mesh):
    got, gradient = jax.jit(step)(*jax.device_put((x, y, labels), rows))
  np.testing.assert_allclose(got, want, rtol=1e-5)
  np.testing.assert_allclose(gradient, want_gradient, atol=1e-5)


def test_search_has_no_collectives_in_its_loop():
  mesh = _mesh(8)
  rows = NamedSharding(mesh, PartitionSpec('data'))
  cloud = jax.ShapeDtypeStruct((16, 6), jnp.float32, sharding=rows)
  with jax.set_mesh(mesh):
    step = jax.jit(jax.value_and_grad(losses.wasserstein2))
    text = step.lower(cloud, cloud).compile().as_text()
  talk = re.compile(r'= .*(all-gather|all-reduce|collective-permute)\(')
  in_entry = []
  for line in text.splitlines():
    head = re.match(r'(ENTRY )?%?\S+ .*\{$', line)
    if head:
      inside_entry = bool(head.group(1))
    if talk.search(line):
      in_entry.append(inside_entry)
  assert in_entry
  assert all(in_entry)
