"""Export of a trained network to a file for other programs.

  python -m experiments.export --run=RUN --format=safetensors

RUN is the folder of one run, e.g. `runs/digits-…/runs/kd2m/seed0`. Formats:
`safetensors` (Flax names), `safetensors_torch` (names and layouts of PyTorch
code of the network's family; `…_torchvision` and `…_timm` for networks of
ImageNet), `orbax` (a folder) and `stablehlo` (a program with its weights, for
any batch size). How to read each: docs/weights.md.
"""

import dataclasses
import pathlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from kdjax import convert, methods
from kdjax.cli import flags
from kdjax.cli.exit_status import escape_unprintable_names, fail
from kdjax.methods import Method
from kdjax.network import Network
from kdjax.paths import local_path
from kdjax.runtime import array_hashes
from kdjax.runtime.checkpoints import save_variables
from kdjax.runtime.temporary import check_replaceable
from kdjax.studies.run_config import NEEDED, read_run_config
from kdjax.studies.trained import load_trained
from kdjax.typing import PyTree

Naming = Literal['flax', 'torch', 'torchvision', 'timm']
Format = Literal[
  'safetensors',
  'safetensors_torch',
  'safetensors_torchvision',
  'safetensors_timm',
  'orbax',
  'stablehlo',
]

# Names in an orbax folder.
_ORBAX_NAMES = re.compile(
  r'd|_\w+|array_metadatas|commit_success\.txt|manifest\.ocdbt|ocdbt\.\w+'
)
_ENDINGS = {
  'safetensors': 'student.safetensors',
  'safetensors_torch': 'student_torch.safetensors',
  'safetensors_torchvision': 'student_torchvision.safetensors',
  'safetensors_timm': 'student_timm.safetensors',
  'orbax': 'student_orbax',
  'stablehlo': 'student.stablehlo',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Settings of `experiments.export`.

  Attributes:
    run: Folder of one run.
    format: Format of the exported file or folder.
    output: File or folder to write (default: in RUN/export/).
  """

  run: pathlib.Path
  format: Format = 'safetensors'
  output: pathlib.Path | None = None


def export(config: Config) -> pathlib.Path:
  """Writes the network of a run and returns the path of the file.

  Args:
    config: Configuration of the export.

  Raises:
    ValueError: If the folder is not that of a finished run of a network of this
      library, or its network has no PyTorch names.
  """
  run = local_path(config.run)
  output = run / 'export' / _ENDINGS[config.format]
  if config.output is not None:
    output = local_path(config.output)
  _check_output(output, config.format)
  about = _about(run)
  trained = load_trained(run)
  _WRITERS[config.format](output, trained.network, trained.variables, about)
  return output


def _check_output(path: pathlib.Path, format_: Format) -> None:
  """Checks that a file or folder may be written, before anything is loaded.

  Raises:
    OSError: If it is a folder, a device or a pipe.
    ValueError: If it is a folder of something else.
  """
  if format_ == 'orbax':
    if path.exists() and not _is_saved_folder(path):
      raise ValueError(f'{path} exists and is not a folder of an export.')
    return
  check_replaceable(path)
  if path.suffix in ('.json', '.jsonl', '.npz') and path.exists():
    raise ValueError(
      f'{path} exists and is not a file of an export; give another --output.'
    )


def _is_saved_folder(path: pathlib.Path) -> bool:
  """Returns whether a folder holds weights of this library and no more."""
  try:
    saved = array_hashes.stored_hashes(path) is not None
  except ValueError:
    return False
  return saved and all(
    _ORBAX_NAMES.fullmatch(entry.name) for entry in path.iterdir()
  )


def _write_safetensors(
  naming: Naming,
) -> Callable[[pathlib.Path, Network, PyTree, Mapping[str, Any]], None]:
  def write(path, network, variables, about):
    convert.save_safetensors(
      path,
      variables,
      naming=naming,
      network=network.name,
      about={
        name: about[name] for name in (*NEEDED, 'pooling') if name in about
      },
    )

  return write


def _write_orbax(path, network, variables, about):
  del network, about
  path.parent.mkdir(parents=True, exist_ok=True)
  save_variables(path, variables)


def _write_stablehlo(path, network, variables, about):
  shape = tuple(about['image_shape'])
  convert.save_stablehlo(path, network, variables, shape)


_WRITERS = {
  'safetensors': _write_safetensors('flax'),
  'safetensors_torch': _write_safetensors('torch'),
  'safetensors_torchvision': _write_safetensors('torchvision'),
  'safetensors_timm': _write_safetensors('timm'),
  'orbax': _write_orbax,
  'stablehlo': _write_stablehlo,
}


def _about(run: pathlib.Path) -> Mapping[str, Any]:
  """Returns the description of a run, complete enough for its network."""
  about = read_run_config(run)
  if not (run / 'student').is_dir():
    raise ValueError(f'{run} holds no student/: the run has not ended.')
  _check_method(about.get('method'))
  return about


def _check_method(method: Any) -> None:
  """Refuses a student whose method holds parts that it predicts with."""
  if not isinstance(method, Mapping):
    return
  made = {type_.__name__: type_ for type_ in methods.METHODS.values()}
  type_ = made.get(str(method.get('type')))
  if type_ is not None and _keeps_parts(type_):
    raise ValueError(
      f'The student of {type_.__name__} predicts through parts of the method, '
      'which are not in its network; it cannot be exported alone.'
    )
  for part in method.values():
    _check_method(part)


def _keeps_parts(method: type[Method]) -> bool:
  own = method.predicting is not Method.predicting
  return own and method.export is Method.export


def main(argv: Sequence[str] | None = None) -> int:
  """Prints the path of the exported file; returns 0, or 2 for a mistake."""
  escape_unprintable_names()
  try:
    config = flags.parse_config(
      Config,
      sys.argv[1:] if argv is None else argv,
      name='experiments.export',
      description=__doc__,
    )
    print(export(config))
  except (ValueError, OSError) as error:
    return fail(error, 2)
  return 0


if __name__ == '__main__':
  sys.exit(main())
