"""Weights out: files for other libraries, and a program that needs none."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from kdjax.convert import matching, safetensors_files
from kdjax.convert.torch.names import rules_of
from kdjax.network import Network
from kdjax.typing import PyTree


def save_safetensors(
  path: str | os.PathLike[str],
  variables: PyTree,
  *,
  naming: Literal['flax', 'torch', 'torchvision', 'timm'] = 'flax',
  network: str | None = None,
  about: Mapping[str, Any] | None = None,
) -> None:
  """Writes a network's variables as safetensors.

  Args:
    path: The file; replaced as a whole if it is there.
    variables: `{'params': …, 'batch_stats': …}`.
    naming: `flax` for the paths in the tree, joined by `/`; `torch` for the
      names and layouts of PyTorch code of its family, for `load_state_dict`;
      or a library's, where it has the network too.
    network: Its name in `kdjax.models.NETWORKS`, for PyTorch's names.
    about: What the file says of itself, as in a run's `config.json`; `load` and
      `normalization` find it there.

  Raises:
    ValueError: If no PyTorch names are known for the network.
  """
  if naming == 'flax':
    names = matching.flax_naming(variables, sep='/')
  elif network is None:
    raise ValueError('PyTorch names need the name of the network.')
  else:
    library = None if naming == 'torch' else naming
    names = matching.torch_naming(variables, rules_of(network, library))
  safetensors_files.write(
    pathlib.Path(path),
    names.to_arrays(variables),
    {
      'format': 'flax' if naming == 'flax' else 'pt',
      'kdjax': json.dumps({'network': network, **(about or {})}),
    },
  )


def save_stablehlo(
  path: str | os.PathLike[str],
  network: Network,
  variables: PyTree,
  image_shape: tuple[int, ...],
) -> None:
  """Writes the network with its weights as a StableHLO program.

  It maps float32 images `[batch, H, W, C]` in [0, 1], of any batch, to float32
  logits `[batch, K]`; the normalisation is inside. It runs on CPU, CUDA and TPU
  wherever there is JAX, without this library and without Flax::

    program = jax.export.deserialize(pathlib.Path(path).read_bytes())
    logits = program.call(images)

  Args:
    path: The file; replaced as a whole if it is there.
    network: What is run, in its evaluation mode.
    variables: Its weights; they become constants of the program.
    image_shape: `(H, W, C)`.
  """

  def logits(images):
    features, _ = network.apply(variables, images, train=False)
    return features.logits.astype(jnp.float32)

  (batch,) = jax.export.symbolic_shape('batch')
  program = jax.export.export(
    jax.jit(logits), platforms=('cpu', 'cuda', 'tpu')
  )(jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32))
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(path.name + '.tmp')
  temporary.write_bytes(program.serialize())
  temporary.replace(path)
