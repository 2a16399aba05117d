"""Accuracy of a checkpoint, before a student is distilled from it.

  python -m experiments.teachers evaluate --checkpoint=FILE \\
    --network=resnet56 --dataset=cifar100

FILE is safetensors, .npz, a PyTorch file, a run folder or an orbax folder.
Prints the accuracy and the number of correct images. Measured on the CIFAR test
splits: `results/teachers.json`.
"""

import dataclasses
import datetime
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import convert, data, models
from kdjax.cli import flags
from kdjax.cli.exit_status import escape_unprintable_names, fail
from kdjax.data.dataset import fingerprint
from kdjax.network import Network
from kdjax.paths import local_path
from kdjax.runtime import files
from kdjax.runtime.temporary import check_replaceable
from kdjax.typing import PyTree

# Results that agree in these are of the same evaluation.
_IDENTITY = ('network', 'checkpoint', 'test_set', 'precision')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
  """Evaluates a checkpoint on the test split of a dataset.

  Attributes:
    checkpoint: Weights: a safetensors, .npz or PyTorch file, a run folder or an
      orbax folder.
    prefix: Beginning of the names of the network's weights in a checkpoint of
      several networks, e.g. module.student (default: all are the network's).
    network: Network of the weights, e.g. resnet56 (default: as the checkpoint
      says); `kdjax.models.NETWORKS` lists all.
    dataset: Dataset: cifar10, cifar100, svhn_cropped, stl10, tiny_imagenet,
      digits, folder:PATH or npz:PATH.
    data_dir: Folder of prepared TFDS datasets (default: TFDS's own).
    channels: Channels of the images, rgb or gray (default: their own; rgb if
      any image of a folder is in color).
    precision: Arithmetic of the network, float32 or bfloat16.
    mean: Mean of each channel, subtracted from images in [0, 1] (default: that
      of the checkpoint or of published weights of the network's name, else that
      of the dataset).
    std: Standard deviation of each channel, which images are divided by; needed
      with --mean (default: chosen as the mean).
    batch_size: Images per evaluation step.
    json: JSON file to which the result is added (default: it is only printed).
  """

  checkpoint: pathlib.Path
  prefix: str | None = None
  network: str | None = None
  dataset: str = 'cifar100'
  data_dir: pathlib.Path | None = None
  channels: data.Channels | None = None
  precision: Literal['float32', 'bfloat16'] = 'float32'
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  batch_size: int = 250
  json: pathlib.Path | None = None

  def __post_init__(self):
    """Checks the settings before anything is loaded."""
    if self.batch_size < 1:
      raise ValueError(f'batch_size must be positive, got {self.batch_size}.')


def evaluate(config: Evaluate) -> dict[str, Any]:
  """Evaluates a network on the whole test split.

  Args:
    config: Configuration of the evaluation.

  Returns:
    The number of correct images, the accuracy and a description, as in
    `results/teachers.json`.

  Raises:
    ValueError: If the checkpoint or the dataset cannot be read, or does not fit
      the network.
  """
  if config.json is not None:
    _read_results(local_path(config.json))  # a mistake costs no evaluation
  dataset = data.load(
    config.dataset, data_dir=config.data_dir, channels=config.channels
  )
  network, variables = _load(config, dataset)
  test = dataset.test
  correct, seconds = _count_correct(network, variables, test, config.batch_size)
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
    _add_result(local_path(config.json), result)
  return result


def _load(config: Evaluate, dataset: data.Dataset) -> tuple[Network, PyTree]:
  """Returns the network, with its normalization, and its weights."""
  name = config.network or convert.described(config.checkpoint).get('network')
  if not isinstance(name, str):
    raise ValueError(
      f'{config.checkpoint} does not name its network; give --network=NAME.'
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
  variables = convert.load(
    config.checkpoint, template, network=name, prefix=config.prefix
  )
  return network, variables


def _count_correct(
  network: Network, variables: PyTree, test: data.Split, batch_size: int
) -> tuple[int, float]:
  """Returns the number of correct images and the seconds of the evaluation.

  The time of the compilation is excluded.
  """

  @jax.jit
  def count_correct(variables, images, labels):
    images = images.astype(jnp.float32) / 255
    features, _ = network.apply(variables, images, train=False)
    return (jnp.argmax(features.logits, axis=-1) == labels).sum()

  size = min(batch_size, len(test))
  batches = [
    # Rows that fill the last batch have label -1 and are never correct.
    (
      _pad(test.images[first : first + size], size, 0),
      _pad(test.labels[first : first + size], size, -1),
    )
    for first in range(0, len(test), size)
  ]
  compiled = count_correct.lower(variables, *batches[0]).compile()
  start = time.perf_counter()
  correct = sum(int(compiled(variables, *batch)) for batch in batches)
  return correct, time.perf_counter() - start


def _pad(array: np.ndarray, size: int, value: int) -> np.ndarray:
  """Returns an array filled with `value` up to `size` rows."""
  missing = size - len(array)
  padding = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
  return np.pad(array, padding, constant_values=value)


def _without_folder(dataset: str) -> str:
  kind, colon, path = dataset.partition(':')
  return f'{kind}:{pathlib.Path(path).name}' if colon else dataset


def _add_result(path: pathlib.Path, result: dict[str, Any]) -> None:
  """Adds a result to a file, replacing that of the same evaluation.

  The speed is left out: it depends on the machine.
  """
  rows = [
    row
    for row in _read_results(path)
    if any(row[name] != result[name] for name in _IDENTITY)
  ]
  kept = {k: v for k, v in result.items() if k != 'images_per_second'}
  files.write_json(path, {'rows': [*rows, kept]})


def _read_results(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the results in a file that this command has written before.

  Returns:
    The results; empty if there is no file.

  Raises:
    OSError: If it is a folder, a device or a pipe.
    ValueError: If it holds something else, which would be lost.
  """
  check_replaceable(path)
  if not path.exists():
    return []
  content = files.read_json(path)
  rows = content.get('rows')
  if (
    len(content) != 1
    or not isinstance(rows, list)
    or not all(
      isinstance(row, dict) and row.keys() >= set(_IDENTITY) for row in rows
    )
  ):
    raise ValueError(
      f'--json={path} holds something else than results of this command, '
      'which would be lost. Give another file.'
    )
  return rows


def main(argv: Sequence[str] | None = None) -> int:
  """Prints the result; returns 0, or 2 for a mistake in flags or files."""
  escape_unprintable_names()
  try:
    config = flags.parse_subcommand(
      {'evaluate': Evaluate},
      sys.argv[1:] if argv is None else argv,
      name='experiments.teachers',
      description=__doc__,
    )
    result = evaluate(config)
  except (ValueError, OSError) as error:
    return fail(error, 2)
  print(
    f'{result["network"]} on {result["dataset"]} ({result["precision"]}): '
    f'{100 * result["accuracy"]:.2f} % correct, {result["correct"]} of '
    f'{result["images"]} images; {result["images_per_second"]:.0f} images/s'
  )
  return 0


if __name__ == '__main__':
  sys.exit(main())
