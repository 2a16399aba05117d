"""Linear probes: how well trained features serve another dataset."""

import dataclasses
import functools
import itertools
import pathlib
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import convert, data, methods, models
from kdjax.network import Network
from kdjax.runtime import files
from kdjax.studies import sizes
from kdjax.studies.config import check_seeds
from kdjax.studies.probe import (
  BatchNorm,
  linear_probe,
  probe_optimizer,
  with_weights,
)
from kdjax.studies.schedule import Together, train_all
from kdjax.studies.session import Session, Study
from kdjax.studies.setup import identity, make_epochs
from kdjax.studies.sources import Source, by_seed, find_sources
from kdjax.tasks import SingleLabel
from kdjax.train.epochs import Epochs, check_batch_size, count_steps
from kdjax.train.recipe import Recipe
from kdjax.train.run import Run, RunSettings
from kdjax.typing import PyTree

# 120 epochs; the learning rate is divided by 10 after 30, 60 and 90.
PROTOCOL = Recipe(epochs=120, decay_at=(0.25, 0.5, 0.75))
_SIZE = 32  # image size of networks that do not tell theirs


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferConfig:
  """Linear probes of several networks on one dataset.

  Attributes:
    run: Networks to probe: run folders, work folders of comparisons (all of
      their runs), or files of weights (safetensors, .npz, PyTorch, orbax).
    names: Names of the networks in tables, one for each --run (default: the
      arm of its comparison, or the name of the file).
    network: Name of the network of weights that do not tell, e.g. resnet8x4.
    dataset: Dataset to train the classifiers on: stl10, tiny_imagenet, cifar10,
      cifar100, svhn_cropped, digits, folder:PATH or npz:PATH.
    bn: Batch norm while the classifier is trained: `adapt` normalizes with the
      batch and updates the running statistics, as the published numbers were
      made; `frozen` uses the network's own statistics, which is a linear probe
      in the strict sense.
    image_size: Height and width in pixels that images are resized to (default:
      the size that the networks were trained with, or 32 if it is unknown).
    seeds: Seeds of classifier, order and augmentation; each network is probed
      once with each (default: once, with the seed of its training).
    limit: Training images per class (default: all).
    data_dir: Folder of prepared TFDS datasets (default: TFDS's own).
    channels: Channels of the images, rgb or gray (default: their own; rgb if
      any image of a folder is in color).
    precision: Arithmetic of the networks, float32 or bfloat16; weights and
      losses are float32.
    recipe: How the classifiers are optimized.
    mobile_learning_rate: Learning rate of mobile networks, in place of
      --learning_rate.
    settings: How often runs are evaluated and saved.
    together: Which probes of one architecture train concurrently: `auto` trains
      each on its own device if more than half of the devices get one and no CPU
      cores share batches; `never` trains them sequentially.
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
  channels: data.Channels | None = None
  precision: Literal['float32', 'bfloat16'] = 'float32'
  recipe: Recipe = PROTOCOL
  mobile_learning_rate: float = 0.01
  settings: RunSettings = RunSettings()
  together: Together = 'auto'

  def __post_init__(self):
    """Checks the settings before anything is loaded."""
    check_seeds(self.seeds)
    for name in ('limit', 'image_size'):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ValueError(f'{name} must be at least 1, got {value}.')
    self.recipe_of('mobilenet')  # raises if the rate is impossible
    if self.network is not None:
      models.check_name(self.network)

  @property
  def title(self) -> str:
    """Part of the name of a new work folder."""
    return f'{self.dataset.partition(":")[0]}-{self.bn}'

  def recipe_of(self, network: str) -> Recipe:
    """Returns how the classifier of a network is optimized."""
    if models.is_mobile(network):
      rate = self.mobile_learning_rate
      return dataclasses.replace(self.recipe, learning_rate=rate)
    return self.recipe


class Transfer:
  """All probes of one command, in one work folder.

  Args:
    config: Configuration of the probes.
    session: The call of the command.

  Raises:
    ValueError: If the configuration is invalid.
  """

  def __init__(self, config: TransferConfig, session: Session):
    self.config = config
    self.session = session
    self.sources = find_sources(
      config.run,
      names=config.names,
      network=config.network,
      say=session.progress.say,
    )
    size = _image_size(config, self.sources)
    sizes.check_batch(
      session.devices, (size, size, 3), config.recipe.batch_size
    )
    session.progress.say(f'Loading {config.dataset}')
    self.dataset = session.devices.in_turn(
      lambda: data.load(
        config.dataset,
        data_dir=config.data_dir,
        limit=config.limit,
        size=(size, size),
        channels=config.channels,
      )
    )
    batch_size, train = config.recipe.batch_size, self.dataset.train
    check_batch_size(batch_size, train)
    sizes.check_steps(count_steps(train, batch_size), config.recipe.epochs)
    _check_channels(self.sources, self.dataset)
    # All of them before the first is trained: a mistake costs no hour.
    self.weights = {source.path: self._load(source) for source in self.sources}

  def run(self) -> Study:
    """Trains all probes, except finished ones.

    Raises:
      ValueError: If the work folder holds other probes.
      Interrupted: If a signal requested a stop.
    """
    diverged: list[str] = []
    probes = by_seed(self.sources, self.config.seeds)
    for _, group in itertools.groupby(probes, lambda probe: probe[0].network):
      diverged += train_all(
        [self._run(source, seed) for source, seed in group],
        self.session.request,
        self.session.progress,
        self.config.together,
      )
    return Study(self.session.workdir, diverged=tuple(diverged))

  def _run(self, source: Source, seed: int) -> Run:
    recipe = self.config.recipe_of(source.network)
    weights, dataset = self.weights[source.path], self.dataset
    epochs = self._epochs(source.network)
    return Run(
      folder=self.session.workdir / 'runs' / source.arm / f'seed{seed}',
      epochs=epochs,
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
      pretrained=functools.partial(
        with_weights, network=epochs.program.parts.student, weights=weights
      ),
    )

  @functools.cache  # noqa: B019 (one program per architecture)
  def _epochs(self, name: str) -> Epochs:
    """Returns the epochs that train the classifier of a network."""
    probe, recipe = self._network(name), self.config.recipe_of(name)
    method = methods.Supervised()
    steps = count_steps(self.dataset.train, recipe.batch_size)
    optimizer = recipe.optimizer(steps, probe, method)
    return make_epochs(
      self.session,
      student=probe,
      teacher=None,
      method=method,
      recipe=recipe,
      task=SingleLabel(),
      dataset=self.dataset,
      optimizer=probe_optimizer(optimizer, probe),
    )

  def _network(self, name: str) -> Network:
    """Returns the probe of a network for the dataset's classes."""
    network = models.create(
      name,
      num_classes=self.dataset.num_classes,
      dtype=jnp.dtype(self.config.precision),
      mean=self.dataset.mean,
      std=self.dataset.std,
    )
    return linear_probe(network, bn=self.config.bn)

  def _load(self, source: Source) -> PyTree:
    """Returns weights on the host, zeros where a classifier is missing."""
    shapes = self._network(source.network).describe(self.dataset.image_shape)
    empty = jax.tree.map(
      lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes.variables
    )

    def read() -> PyTree:
      loaded = convert.load(
        source.path,
        empty,
        network=source.network,
        fresh_classifier=True,
        say=lambda _: None,  # other classes are the purpose
      )
      return jax.tree.map(np.asarray, loaded)

    return jax.tree.map(np.asarray, self.session.devices.read(read, empty))


def _image_size(config: TransferConfig, sources: list[Source]) -> int:
  """Returns `image_size` or, by default, that of the networks' training."""
  if config.image_size is not None:
    return config.image_size
  shapes = {s.image_shape[:2]: s.path for s in sources if s.image_shape}
  sizes = {size for shape in shapes for size in shape}
  if len(sizes) > 1:
    lines = '\n'.join(f'  {path}: {shape}' for shape, path in shapes.items())
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
        f'channels, those of {dataset.name} have {channels}; give '
        f'--channels={"gray" if channels == 3 else "rgb"}.'
      )
