"""Trained networks of finished runs, ready to evaluate or export."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kdjax import convert, methods, models
from kdjax.messages import first_line
from kdjax.methods import Method, TrainSpec
from kdjax.network import Network
from kdjax.studies.run_config import read_run_config
from kdjax.typing import PyTree


@dataclasses.dataclass(frozen=True)
class Trained:
  """A network that a run has trained.

  Attributes:
    network: The network; for a method that predicts through its own parts, the
      result of `Method.export`.
    variables: Its variables, on the host.
    about: Content of the run's `config.json`.
  """

  network: Network
  variables: PyTree
  about: Mapping[str, Any]


def load_trained(run: epath.PathLike) -> Trained:
  """Loads the network of a finished run.

  Args:
    run: Folder of the run, with `config.json` and `student/`.

  Raises:
    ValueError: If it is not the folder of a finished run, or its weights do
      not fit the network that it describes.
  """
  run = epath.Path(run)
  if not (run / 'student').is_dir():
    raise ValueError(f'{run} holds no student/: the run has not ended.')
  about = read_run_config(run)
  try:
    network, template = exported_template(about)
  except (ValueError, TypeError, KeyError, OverflowError) as error:
    raise ValueError(
      f'The config.json of {run} describes no network: {first_line(error)}'
    ) from error
  variables = convert.load(run, template, network=network.name)
  return Trained(network, variables, about)


def exported_template(about: Mapping[str, Any]) -> tuple[Network, PyTree]:
  """Returns the network that a run exported, and variables of its shapes.

  Args:
    about: Content of the run's `config.json`.
  """
  student = _create(about, about['network'])
  shape = tuple(about['image_shape'])
  variables = _zeros(student.describe(shape).variables)
  method = _known_method(about.get('method'))
  if method is None or not method.predicts or 'teacher' not in about:
    return student, variables
  teacher = _create(about, about['teacher'])
  own = _initial_variables(method, student, teacher, about)
  teacher_variables = _zeros(teacher.describe(shape).variables)
  return method.export(own, (student, variables), (teacher, teacher_variables))


def _known_method(stored: Mapping[str, Any] | None) -> Method | None:
  """Returns the method of a run; `None` if it is not one of this library.

  Its student is then loaded as a plain network, which its weights may not fit.

  Raises:
    ValueError: If a setting of a known method is wrong.
  """
  if not stored or not methods.is_known(stored):
    return None
  return methods.from_json(stored)


def _initial_variables(
  method: Method, student: Network, teacher: Network, about: Mapping[str, Any]
) -> PyTree:
  """Returns variables of a method with the shapes that export needs."""
  shape, classes = tuple(about['image_shape']), about['num_classes']
  data = TrainSpec(1, np.zeros(1, np.int32), classes)
  return method.init(
    jax.random.key(0),
    student.describe(shape, 2),
    teacher.describe(shape, 2),
    data,
  )


def _create(about: Mapping[str, Any], name: str) -> Network:
  return models.create(
    name,
    num_classes=about['num_classes'],
    dtype=jnp.dtype(about['precision']),
    mean=tuple(about['mean']),
    std=tuple(about['std']),
    pooling=about.get('pooling'),
  )


def _zeros(shapes: PyTree) -> PyTree:
  return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
