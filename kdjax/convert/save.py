"""Saves weights for other libraries, or as a program that needs none."""

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
from kdjax.runtime.files import write_bytes
from kdjax.typing import PyTree


def save_safetensors(
  path: str | os.PathLike[str],
  variables: PyTree,
  *,
  naming: Literal['flax', 'torch', 'torchvision', 'timm'] = 'flax',
  network: str | None = None,
  about: Mapping[str, Any] | None = None,
) -> None:
  """Saves a network's variables as safetensors.

  Args:
    path: The file; replaced if it exists.
    variables: `{'params': …, 'batch_stats': …}`.
    naming: `flax` for the paths in the tree, joined by `/`; `torch` for the
      names and layouts of PyTorch code of its family, for `load_state_dict`;
      or a library's, if it has the network, too.
    network: Name in `kdjax.models.NETWORKS`; needed for all names but Flax's.
    about: Metadata of the file with the keys of a run's `config.json`; `load`
      and `normalization` read them (default: none).

  Raises:
    ValueError: If no PyTorch names are known for the network.

  Examples:
    >>> import pathlib, tempfile
    >>> import jax
    >>> from kdjax import convert, models
    >>> name = 'convnet_4_8'
    >>> network = models.create(name, num_classes=10)
    >>> variables = network.initialize(jax.random.key(0), (8, 8, 1))
    >>> options = {'naming': 'torch', 'network': name}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / 'student.safetensors'
    ...   convert.save_safetensors(path, variables, **options)
    ...   arrays = convert.read(path)
    >>> arrays['stage1.conv0.weight'].shape  # [out, in, height, width]
    (8, 4, 3, 3)
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
  """Saves a network with its weights as a StableHLO program.

  The program maps float32 images `[batch, H, W, C]` in [0, 1], of any batch
  size, to float32 logits `[batch, K]`, and includes the normalization. It runs
  on CPU, CUDA and TPU with JAX, without this library and without Flax::

    program = jax.export.deserialize(pathlib.Path(path).read_bytes())
    logits = program.call(images)

  Args:
    path: The file; replaced if it exists.
    network: The network, which runs in evaluation mode.
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
  write_bytes(path, bytes(program.serialize()))
