"""How good a network from a checkpoint is, before anything learns from it.

  python -m experiments.teachers evaluate --checkpoint=FILE \\
    --network=resnet56 --dataset=cifar100

FILE is safetensors, .npz, a PyTorch file, a run folder or an orbax folder.
Prints the accuracy and the exact number of images that are right. Measured on
the real CIFAR test sets: `results/teachers.json`.
"""

import dataclasses
import datetime
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from kdjax import convert, data, models
from kdjax.data.dataset import fingerprint
from kdjax.network import Network
from kdjax.runtime import files

PyTree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
  """Accuracy of a checkpoint on a test set.

  Attributes:
    checkpoint: Its weights.
    network: Which network they are of; without, what the checkpoint says.
    dataset: cifar100, cifar10, svhn_cropped, digits, folder:PATH or npz:PATH.
    data_dir: Where TFDS keeps its prepared sets; its own default without.
    precision: Of the network's arithmetic.
    mean: Per channel, what is subtracted from images in [0, 1]; without, what
      the checkpoint or published weights of that name were trained with, or
      else the set's.
    std: What they are divided by; given together with the mean.
    batch_size: Images at a time.
    json: A file in which the result is kept, beside those of other calls.
  """

  checkpoint: pathlib.Path
  network: str | None = None
  dataset: str = 'cifar100'
  data_dir: pathlib.Path | None = None
  precision: Literal['float32', 'bfloat16'] = 'float32'
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  batch_size: int = 250
  json: pathlib.Path | None = None

  def __post_init__(self):
    """Checks what can be checked before anything is loaded."""
    if self.batch_size < 1:
      raise ValueError(f'batch_size must be positive, got {self.batch_size}.')


def evaluate(config: Evaluate) -> dict[str, Any]:
  """Runs the whole test set through the network.

  Raises:
    ValueError: If the checkpoint or the set cannot be read, or do not fit the
      network.
  """
  dataset = data.load(config.dataset, data_dir=config.data_dir)
  network, variables = _load(config, dataset)
  test = dataset.test
  correct, seconds = _count(network, variables, test, config.batch_size)
  result = {
    'network': network.name,
    'checkpoint': config.checkpoint.name,
    'dataset': _without_folder(config.dataset),
    'test_set': fingerprint(test.images, test.labels)[:16],
    'precision': config.precision,
    'mean': network.mean,
    'std': network.std,
    'correct': correct,
    'images': len(test),
    'accuracy': correct / len(test),
    'images_per_second': round(len(test) / seconds, 1),
    'batch_size': config.batch_size,
    'date': datetime.date.today().isoformat(),
    'versions': files.versions(),
  }
  if config.json is not None:
    _keep(config.json, result)
  return result


def _load(config: Evaluate, dataset: data.Dataset) -> tuple[Network, PyTree]:
  """The network with the constants it was trained with, and its weights."""
  name = config.network or convert.described(config.checkpoint).get('network')
  if not isinstance(name, str):
    raise ValueError(
      f'{config.checkpoint} does not say of which network it is; give '
      '--network=NAME.'
    )
  mean, std = convert.normalization(
    config.checkpoint,
    name,
    mean=config.mean,
    std=config.std,
    default=convert.Normalization(dataset.mean, dataset.std),
  )
  network = models.create(
    name,
    num_classes=dataset.num_classes,
    dtype=jnp.dtype(config.precision),
    mean=mean,
    std=std,
  )
  template = network.describe(dataset.image_shape).variables
  return network, convert.load(config.checkpoint, template, network=name)


def _count(
  network: Network, variables: PyTree, test: data.Split, batch_size: int
) -> tuple[int, float]:
  """How many images are right, and the seconds it took, without compiling."""

  @jax.jit
  def right(variables, images, labels):
    images = images.astype(jnp.float32) / 255
    features, _ = network.apply(variables, images, train=False)
    return (jnp.argmax(features.logits, axis=-1) == labels).sum()

  size = min(batch_size, len(test))
  batches = [
    # No label is -1: what fills up the last batch is never right.
    (
      _filled(test.images[start : start + size], size, 0),
      _filled(test.labels[start : start + size], size, -1),
    )
    for start in range(0, len(test), size)
  ]
  count = right.lower(variables, *batches[0]).compile()
  began = time.perf_counter()
  correct = sum(int(count(variables, *batch)) for batch in batches)
  return correct, time.perf_counter() - began


def _filled(array: np.ndarray, size: int, value: int) -> np.ndarray:
  """`array` with `value` in further rows up to `size`."""
  missing = size - len(array)
  padding = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
  return np.pad(array, padding, constant_values=value)


def _without_folder(dataset: str) -> str:
  kind, colon, path = dataset.partition(':')
  return f'{kind}:{pathlib.Path(path).name}' if colon else dataset


def _keep(path: pathlib.Path, result: dict[str, Any]) -> None:
  """Puts a result beside those in a file, in place of the same one's.

  Without the speed: that is the machine's, and of one moment.
  """
  rows = json.loads(path.read_text())['rows'] if path.exists() else []
  same = ('network', 'checkpoint', 'test_set', 'precision')
  rows = [row for row in rows if any(row[k] != result[k] for k in same)]
  kept = {k: v for k, v in result.items() if k != 'images_per_second'}
  files.write_json(path, {'rows': [*rows, kept]})


def main(argv: Sequence[str] | None = None) -> int:
  """The command: prints the result; 2 for a mistake in flags or files."""
  try:
    command = tyro.extras.subcommand_cli_from_dict(
      {'evaluate': Evaluate},
      args=argv,
      prog='python -m experiments.teachers',
      description=__doc__,
      use_underscores=True,
    )
    result = evaluate(command)
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  print(
    f'{result["network"]} on {result["dataset"]} ({result["precision"]}): '
    f'{100 * result["accuracy"]:.2f} % right, {result["correct"]} of '
    f'{result["images"]} images; {result["images_per_second"]:.0f} images/s'
  )
  return 0


if __name__ == '__main__':
  sys.exit(main())
