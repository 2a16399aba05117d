"""Linear probes: how well features of trained networks serve another set."""

import dataclasses
import functools
import itertools
import pathlib
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kdjax import convert, data, methods, models
from kdjax.network import Network
from kdjax.runtime import files, mesh
from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import StopRequest
from kdjax.studies import schedule
from kdjax.studies.comparison import Study
from kdjax.studies.config import check_seeds
from kdjax.studies.probe import (
  BatchNorm,
  linear_probe,
  probe_optimizer,
  with_weights,
)
from kdjax.studies.schedule import Together
from kdjax.studies.sources import Source, by_seed, find_sources
from kdjax.studies.teacher import identity
from kdjax.tasks import SingleLabel
from kdjax.train.parts import Parts
from kdjax.train.recipe import Recipe
from kdjax.train.resident import Program, check_batch_size
from kdjax.train.run import Run, RunSettings
from kdjax.typing import PyTree

# 120 epochs, divided by 10 after 30, 60 and 90.
PROTOCOL = Recipe(epochs=120, decay_at=(0.25, 0.5, 0.75))
_SIZE = 32  # of the images of networks that do not say theirs


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferConfig:
  """Probes of several networks on one set. Stored beside its results.

  Attributes:
    run: The networks: run folders, work folders of comparisons (all their
      runs), or files of weights; see `kdjax.convert.load`.
    names: What tables call them, one for each; the arm of their comparison, or
      the file's name, without.
    network: Of weights that do not say of which network they are.
    dataset: A name of `kdjax.data.load.RECIPES`, folder:PATH or npz:PATH.
    bn: What batch norm does while the classifier is trained: `adapt` normalises
      with the batch and moves the running statistics to the new images, as the
      published numbers were made; `frozen` uses the network's own, which is a
      linear probe in the strict sense.
    image_size: Height and width that images are resized to; what the networks
      were trained on without, or 32 if they do not say.
    seeds: Of classifier, order and augmentation, one probe of each network for
      each; the network's own without.
    limit: Training images per class; all of them without.
    data_dir: Where TFDS keeps its prepared sets; its own default without.
    precision: Of the networks' arithmetic; weights and losses are float32.
    recipe: How the classifiers are optimised.
    mobile_learning_rate: In place of the recipe's for mobile networks.
    settings: How often runs are evaluated and saved.
    together: Which probes of one architecture train at once; see
      `StudyConfig`.
  """

  run: tuple[pathlib.Path, ...] = ()
  names: tuple[str, ...] = ()
  network: str | None = None
  dataset: str = 'stl10'
  bn: BatchNorm = 'adapt'
  image_size: int | None = None
  seeds: tuple[int, ...] = ()
  limit: int | None = None
  data_dir: pathlib.Path | None = None
  precision: Literal['float32', 'bfloat16'] = 'float32'
  recipe: Recipe = PROTOCOL
  mobile_learning_rate: float = 0.01
  settings: RunSettings = RunSettings()
  together: Together = 'auto'

  def __post_init__(self):
    """Checks what can be checked before anything is loaded."""
    check_seeds(self.seeds)
    for name in ('limit', 'image_size'):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ValueError(f'{name} must be at least 1, got {value}.')
    self.recipe_of('mobilenet')  # raises if the rate cannot be
    if self.network is not None:
      models.check_name(self.network)

  @property
  def title(self) -> str:
    """What names a new work folder of it."""
    return f'{self.dataset.partition(":")[0]}-{self.bn}'

  def recipe_of(self, network: str) -> Recipe:
    """How the classifier of a network is optimised."""
    if models.is_mobile(network):
      rate = self.mobile_learning_rate
      return dataclasses.replace(self.recipe, learning_rate=rate)
    return self.recipe


class Transfer:
  """The probes of one command, in one work folder."""

  def __init__(
    self,
    config: TransferConfig,
    workdir: epath.PathLike,
    *,
    request: StopRequest,
    progress: Progress,
    devices: mesh.Devices | None = None,
  ):
    self.config = config
    self.workdir = epath.Path(workdir)
    self.request = request
    self.progress = progress
    self.devices = devices or mesh.all_devices()
    self.sources = find_sources(
      config.run, names=config.names, network=config.network, say=progress.say
    )
    size = _image_size(config, self.sources)
    progress.say(f'Loading {config.dataset}')
    self.dataset = self.devices.in_turn(
      lambda: data.load(
        config.dataset,
        data_dir=config.data_dir,
        limit=config.limit,
        size=(size, size),
      )
    )
    check_batch_size(config.recipe.batch_size, self.dataset.train)
    _check_channels(self.sources, self.dataset)
    # All of them before the first is trained: a mistake costs no hour.
    self.weights = {source.path: self._load(source) for source in self.sources}
    # One program for each architecture, whatever weights it has.
    self._programs: dict[str, Program] = {}

  def run(self) -> Study:
    """All probes, those that are finished already left as they are.

    Raises:
      ValueError: If the work folder holds other probes.
      DivergedError: If a probe's loss stops being finite.
      Interrupted: If a signal asked for it.
    """
    asked = by_seed(self.sources, self.config.seeds)
    for _, probes in itertools.groupby(asked, lambda probe: probe[0].network):
      runs = [self._probe(*probe) for probe in probes]
      schedule.train(runs, self.request, self.progress, self.config.together)
    return Study(self.workdir)

  def _probe(self, source: Source, seed: int) -> Run:
    recipe = self.config.recipe_of(source.network)
    weights, dataset = self.weights[source.path], self.dataset
    program = self._program(source.network)
    return Run(
      self.workdir / 'runs' / source.arm / f'seed{seed}',
      program,
      recipe=recipe,
      test=dataset.test,
      teacher_variables={},
      key=jax.random.key(seed),
      about={
        'arm': source.arm,
        'role': source.role,
        'seed': seed,
        'network': source.network,
        'num_classes': dataset.num_classes,
        'image_shape': dataset.image_shape,
        'mean': dataset.mean,
        'std': dataset.std,
        'dataset': self.config.dataset,
        'precision': self.config.precision,
        'settings': files.to_json(self.config.settings),
        'recipe': files.to_json(recipe),
        'limit': self.config.limit,
        'data': dataset.fingerprint,
        'bn': self.config.bn,
        'probe_of': identity(weights),
      },
      settings=self.config.settings,
      start=functools.partial(
        with_weights, network=program.parts.student, weights=weights
      ),
    )

  def _program(self, name: str) -> Program:
    """What trains the classifier of a network."""
    if name not in self._programs:
      train, recipe = self.dataset.train, self.config.recipe_of(name)
      steps, probe = -(-len(train) // recipe.batch_size), self._network(name)
      parts = Parts(
        student=probe,
        teacher=None,
        method=methods.Supervised(),
        task=SingleLabel(),
        augment=self.dataset.augment,
        optimizer=probe_optimizer(recipe.optimizer(steps), probe),
        steps_per_epoch=steps,
        ema_decay=recipe.ema_decay,
        snapshots=recipe.average_last is not None,
      )
      self._programs[name] = Program(
        parts, self.devices, train, recipe.batch_size
      )
    return self._programs[name]

  def _network(self, name: str) -> Network:
    """A network for the set's classes, as it is probed."""
    network = models.create(
      name,
      num_classes=self.dataset.num_classes,
      dtype=jnp.dtype(self.config.precision),
      mean=self.dataset.mean,
      std=self.dataset.std,
    )
    return linear_probe(network, bn=self.config.bn)

  def _load(self, source: Source) -> PyTree:
    """The weights on the host; where a classifier is missing, zeros."""
    shapes = self._network(source.network).describe(self.dataset.image_shape)
    empty = jax.tree.map(
      lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes.variables
    )

    def read():
      loaded = convert.load(
        source.path,
        empty,
        network=source.network,
        fresh_classifier=True,
        say=lambda _: None,  # that its classes are others is the purpose
      )
      return jax.tree.map(np.asarray, loaded)

    return jax.tree.map(np.asarray, self.devices.read(read, empty))


def _image_size(config: TransferConfig, sources: list[Source]) -> int:
  """What the networks were trained on, or what the user wants instead."""
  if config.image_size is not None:
    return config.image_size
  said = {s.image_shape[:2]: s.path for s in sources if s.image_shape}
  sizes = {size for shape in said for size in shape}
  if len(sizes) > 1:
    lines = '\n'.join(f'  {path}: {shape}' for shape, path in said.items())
    raise ValueError(
      'The networks were trained on images of several sizes:\n'
      f'{lines}\nGive --image_size=PIXELS for all of them.'
    )
  return sizes.pop() if sizes else _SIZE


def _check_channels(sources: list[Source], dataset: data.Dataset) -> None:
  channels = dataset.image_shape[-1]
  for source in sources:
    if source.image_shape is not None and source.image_shape[-1] != channels:
      raise ValueError(
        f'--run={source.path} takes images of {source.image_shape[-1]} '
        f'channels, those of {dataset.name} have {channels}.'
      )
