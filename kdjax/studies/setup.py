"""Networks, programs and descriptions that runs of a comparison share."""

import dataclasses
import functools
import hashlib
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import convert, data, models
from kdjax.messages import first_line
from kdjax.methods import Method
from kdjax.methods.base import TrainSpec
from kdjax.network import Network
from kdjax.runtime import files
from kdjax.studies import sizes
from kdjax.studies.config import StudyConfig
from kdjax.studies.session import Session
from kdjax.tasks import SingleLabel, Task
from kdjax.train.epochs import (
  Epochs,
  Program,
  check_batch_size,
  count_steps,
)
from kdjax.train.parts import Parts
from kdjax.train.recipe import Recipe
from kdjax.train.resident import ResidentEpochs
from kdjax.train.streamed import StreamedEpochs
from kdjax.typing import PyTree, Variables


class Setup:
  """The dataset and networks of a comparison, loaded and checked.

  Args:
    config: Configuration of the comparison.
    session: The call of the command.

  Attributes:
    dataset: The dataset, with as many training images as students see.
    student: The student network.
    teacher: The teacher network.

  Raises:
    ValueError: If the configuration is invalid.
  """

  def __init__(self, config: StudyConfig, session: Session):
    self.config = config
    self.session = session
    for network in (config.student, config.teacher):
      models.check_name(network)  # before a dataset is downloaded
    session.progress.say(config.loading)
    self.dataset = self.load(config.limit)
    # The students' too, before their teacher has cost an hour.
    recipe, train = config.recipe, self.dataset.train
    check_batch_size(recipe.batch_size, train)
    epochs = max(recipe.all_epochs, config.teacher_recipe.all_epochs)
    sizes.check_steps(count_steps(train, recipe.batch_size), epochs)
    shape = self.dataset.image_shape
    sizes.check_batch(session.devices, shape, recipe.batch_size)
    own = convert.Normalization(self.dataset.mean, self.dataset.std)
    self.student = self._network(config.student, own, config.student_init)
    self.teacher = self._network(
      config.teacher, self._teacher_normalization(own), config.teacher_init
    )

  def load(self, limit: int | None) -> data.Dataset | data.StreamedDataset:
    """Returns the dataset with at most `limit` training images per class."""
    return self.session.devices.in_turn(lambda: self.config.load(limit))

  def epochs(
    self,
    student: Network,
    teacher: Network | None,
    method: Method,
    recipe: Recipe,
    train: data.Split | data.StreamedSplit | None = None,
  ) -> Epochs:
    """Returns the compiled epochs that train a network.

    Args:
      student: The network that is trained.
      teacher: The network it learns from.
      method: The distillation method.
      recipe: How the student is optimized.
      train: The training split (default: that of the dataset).
    """
    return make_epochs(
      self.session,
      student=student,
      teacher=teacher,
      method=method,
      recipe=recipe,
      task=self.config.task,
      dataset=self.dataset,
      train=train,
    )

  def about(
    self, arm: str, role: str, network: Network, seed: int
  ) -> dict[str, Any]:
    """Returns the common content of the `config.json` of every run."""
    return {
      'arm': arm,
      'role': role,
      'seed': seed,
      'network': network.name,
      'num_classes': self.dataset.num_classes,
      'image_shape': self.dataset.image_shape,
      'mean': network.mean,
      'std': network.std,
      'dataset': self.config.dataset,
      'precision': self.config.precision,
      **self.config.network_options,
      **_score(self.config.task),
      'settings': files.to_json(self.config.settings),
    }

  def initial_weights(self, network: Network) -> dict[str, str]:
    """Returns the hash of a network's pretrained weights, if it has any."""
    if network.pretrained is None:
      return {}
    start = network.initialize(jax.random.key(0), self.dataset.image_shape)
    return {'init': identity(start)}

  @functools.cached_property
  def train_spec(self) -> TrainSpec:
    """The training data of the students, as methods see them."""
    train = self.dataset.train
    return TrainSpec(len(train), train.labels, self.dataset.num_classes)

  def method_variables(self, method: Method) -> Variables:
    """Returns the shapes of a method's variables.

    Raises:
      ValueError: If the method cannot serve this pair of networks.
    """
    shape, size = self.dataset.image_shape, self.config.recipe.batch_size
    student = self.student.describe(shape, size)
    teacher = self.teacher.describe(shape, size)
    try:
      return jax.eval_shape(
        lambda key: method.init(key, student, teacher, self.train_spec),
        jax.random.key(0),
      )
    except (OverflowError, MemoryError) as error:
      raise ValueError(
        f'{type(method).__name__} needs arrays that are too large: '
        f'{first_line(error)}.'
      ) from error

  def check_memory(self, arm: str, method: Method) -> None:
    """Checks that a method can be trained on these networks and devices.

    Args:
      arm: Name of the arm, for the message.
      method: Its method.

    Raises:
      ValueError: If the method cannot serve this pair of networks, or what it
        trains does not fit the memory.
    """
    sizes.check_memory(
      self.session.devices,
      f'{arm}, {self.config.student} taught by {self.config.teacher},',
      student=self.student,
      teacher=self.teacher,
      method=self.method_variables(method),
      image_shape=self.dataset.image_shape,
      batch_size=self.config.recipe.batch_size,
    )

  def recipe_for(self, method: Method) -> Recipe:
    """Returns the recipe, in one stage if the method trains no parameters."""
    recipe = self.config.recipe
    if recipe.all_epochs == recipe.epochs:
      return recipe
    if method.needs_teacher and self.method_variables(method)['params']:
      return recipe
    return recipe.without_stages()

  def _teacher_normalization(
    self, own: convert.Normalization
  ) -> convert.Normalization:
    config = self.config

    def read() -> np.ndarray:
      constants = convert.normalization(
        config.teacher_checkpoint,
        config.teacher,
        mean=config.teacher_mean,
        std=config.teacher_std,
        default=own,
      )
      # As integers, which are not rounded on the way to other processes.
      return np.asarray(constants, np.float64).view(np.uint32)

    like = np.asarray(own, np.float64).view(np.uint32)
    constants = np.asarray(self.session.devices.read(read, like))
    values = constants.view(np.float64).tolist()
    return convert.Normalization(*map(tuple, values))

  def _network(
    self,
    name: str,
    constants: convert.Normalization,
    init: pathlib.Path | None,
  ) -> Network:
    network = models.create(
      name,
      num_classes=self.dataset.num_classes,
      dtype=jnp.dtype(self.config.precision),
      mean=constants.mean,
      std=constants.std,
      **self.config.network_options,
    )
    if init is None:
      return network

    def pretrained(fresh: PyTree) -> PyTree:
      def read() -> PyTree:
        return convert.load(
          init, fresh, network=name, fresh_classifier=True, say=_ignore
        )

      return self.session.devices.read(read, fresh)

    return dataclasses.replace(network, pretrained=pretrained)


def make_epochs(
  session: Session,
  *,
  student: Network,
  teacher: Network | None,
  method: Method,
  recipe: Recipe,
  task: Task,
  dataset: data.Dataset | data.StreamedDataset,
  train: data.Split | data.StreamedSplit | None = None,
  optimizer: Any = None,
) -> Epochs:
  """Returns the compiled epochs that train a network on a dataset.

  Args:
    session: The call of the command.
    student: The network that is trained.
    teacher: The network it learns from.
    method: The distillation method.
    recipe: How the student is optimized.
    task: Task of the training.
    dataset: The dataset.
    train: The training split (default: that of the dataset).
    optimizer: The optimizer (default: the recipe's).
  """
  train = train or dataset.train
  steps_per_epoch = count_steps(train, recipe.batch_size)
  method = recipe.staged(method)
  parts = Parts(
    student=student,
    teacher=teacher,
    method=method,
    task=task,
    augment=dataset.augment,
    optimizer=optimizer or recipe.optimizer(steps_per_epoch, student, method),
    steps_per_epoch=steps_per_epoch,
  )
  program = Program(
    parts=parts,
    devices=session.devices,
    train=train,
    batch_size=recipe.batch_size,
    num_classes=dataset.num_classes,
    wrappers=recipe.wrappers(steps_per_epoch),
  )
  if isinstance(train, data.StreamedSplit):
    return StreamedEpochs(program)
  return ResidentEpochs(program)


def identity(variables: PyTree) -> str:
  """Returns a short hash of the values of weights."""
  leaves = map(np.asarray, jax.tree.leaves(variables))
  return short_hash(*(leaf.tobytes() for leaf in leaves))


def short_hash(*parts: bytes) -> str:
  """Returns the first 16 hexadecimal digits of a SHA-256."""
  digest = hashlib.sha256()
  for part in parts:
    digest.update(part)
  return digest.hexdigest()[:16]


def _score(task: Task) -> dict[str, str]:
  """Returns the score of a report that does not compare accuracies."""
  return {} if task.score == SingleLabel.score else {'score': task.score}


def _ignore(table: str) -> None:
  """Ignores the message about a new classifier, which is intended."""
