"""Files of RetinaNet's towers: the mimic loss in detection."""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses


def results(stored, cast) -> dict[str, jax.Array]:
  """Computes all results of one file; its layout is channels first."""
  kernel, bias, classes, class_bias = cast('W', 'b', 'cls_kernel', 'cls_bias')
  levels = sum(name.startswith('map_s') for name in stored)
  student = cast(*(f'map_s{level}' for level in range(levels)))
  teacher = _features(cast(*(f'map_t{level}' for level in range(levels))))
  kept = _kept(stored, teacher.shape[1])

  @jax.jit
  def run(student, teacher, kernel, bias):
    def loss(maps, name):
      features = _features(maps)
      values = losses.lsh(features, teacher, kernel.T, bias)
      if name == 'lshl2':
        values += jnp.mean((features - teacher) ** 2, axis=-1)
      mean = losses.mean_over_locations(values, kept)
      return float(stored['beta']) * mean

    return {
      name: jax.value_and_grad(loss)(student, name) for name in ('lsh', 'lshl2')
    }

  features = _features(student)
  logits = features @ classes.reshape(len(classes), -1).T + class_bias
  found = {
    'feat_s': features,
    'cls_logits': logits.reshape(stored['f32_cls_logits'].shape),
  }
  answers = run(student, teacher, kernel, bias)
  for name, (value, gradients) in answers.items():
    found[f'loss_{name}'] = value
    for level, gradient in enumerate(gradients):
      found[f'grad_{name}_map{level}'] = gradient
  return found


def _features(maps: list[jax.Array]) -> jax.Array:
  """Returns the neighborhoods of all levels, `[images, locations, C · 9]`."""
  found = []
  for level in maps:
    rows = losses.neighborhoods(level.transpose(0, 2, 3, 1))
    parts = rows.reshape(*rows.shape[:2], 9, -1).swapaxes(2, 3)
    found.append(parts.reshape(rows.shape))
  return jnp.concatenate(found, axis=1)


def _kept(stored, locations: int) -> np.ndarray:
  """Returns the valid locations, which must equal the file's mask."""
  matched = stored['matched_idx']
  kept = np.asarray(
    losses.valid_locations(matched, matched.shape[1] // locations)
  ).copy()
  if 'empty_image' in stored:
    kept[int(stored['empty_image'])] = False
  if not np.array_equal(kept, stored['mask']):
    raise ValueError('valid_locations gives another mask than the file')
  return kept
