"""Two linear layers in place of the student's classifier, for LSHFM."""

# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp

from kdjax.features import LinearClassifier, NetworkSpec
from kdjax.methods.linear import (
  Layer,
  apply_linear,
  init_linear,
  merge_linear,
)

# `embedding`, from the student's width to the teacher's, and `classifier`.
TwoLayers = dict[str, Layer]


def init_two_layers(
  keys: tuple[jax.Array, jax.Array],
  student: NetworkSpec,
  teacher: NetworkSpec,
  embedding_std: float | None,
) -> TwoLayers:
  """Returns the two layers.

  Args:
    keys: Random keys of the two layers.
    student: Shapes of the student.
    teacher: Shapes of the teacher.
    embedding_std: Standard deviation of the kernel of the first layer, which
      has no bias then; `None` initializes it as PyTorch does.
  """
  student_width = student.features.embedding.shape[-1]
  teacher_width = teacher.features.embedding.shape[-1]
  embedding = init_linear(keys[0], student_width, teacher_width)
  if embedding_std is not None:
    noise = jax.random.normal(keys[0], (student_width, teacher_width))
    embedding = {
      'kernel': embedding_std * noise,
      'bias': jnp.zeros(teacher_width),
    }
  classes = student.features.logits.shape[-1]
  return {
    'embedding': embedding,
    'classifier': init_linear(keys[1], teacher_width, classes),
  }


def classify(layers: TwoLayers, embedding: jax.Array) -> jax.Array:
  """Returns logits `[B, K]` of the student's embeddings `[B, D]`."""
  rows = apply_linear(layers['embedding'], embedding)
  return apply_linear(layers['classifier'], rows)


def merged(layers: TwoLayers) -> LinearClassifier:
  """Returns the one linear classifier that computes both layers."""
  kernel, bias = merge_linear(layers['embedding'], layers['classifier'])
  return LinearClassifier(jnp.asarray(kernel), jnp.asarray(bias))


def check_one_layer(student: NetworkSpec, teacher: NetworkSpec) -> None:
  """Raises a `ValueError` if embeddings without a layer cannot be compared."""
  widths = [
    network.features.embedding.shape[-1] for network in (student, teacher)
  ]
  if widths[0] != widths[1]:
    raise ValueError(
      f'lshfm compares embeddings of one width, but {student.name} has '
      f'{widths[0]} and {teacher.name} has {widths[1]}. Give '
      '--method.head=2fc (in a combination: --method.lshfm.head=2fc) to '
      'train a layer between them.'
    )


def check_two_layers(student: NetworkSpec) -> None:
  """Raises a `ValueError` if the student's classifier cannot be replaced."""
  if student.classifier is None:
    raise ValueError(
      f'{student.name} does not declare its linear classifier, which the two '
      'layers of lshfm replace. Give its module a classifier_name, or the '
      'network read_classifier and write_classifier.'
    )
