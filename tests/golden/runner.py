"""Finds golden files, checks each by its kind and prints a line per file."""

import pathlib
import zipfile
from collections.abc import Callable

import numpy as np

from tests.golden.comparison import Comparison
from tests.golden.kinds import (
  fcfd,
  icd,
  imagenet_networks,
  kd,
  kd2m,
  lshfm,
  multilabel_metrics,
  networks,
  preprocessing,
  ssim,
  train_step,
)

_SHOWN = 10  # printed failures per file

Check = Callable[[pathlib.Path], list[Comparison]]

KINDS: dict[str, Check] = {
  'fcfd': fcfd.check,
  'icd': icd.check,
  'imagenet_networks': imagenet_networks.check,
  'kd': kd.check,
  'kd2m': kd2m.check,
  'lshfm': lshfm.check,
  'lshfm_average': lshfm.check,
  'multilabel_metrics': multilabel_metrics.check,
  'networks': networks.check,
  'preprocessing': preprocessing.check,
  'ssim_components': ssim.check_components,
  'ssim_core': ssim.check_core,
  'ssim_fpn': ssim.check_fpn,
  'ssim_minmax': ssim.check_minmax,
  'train_step': train_step.check,
}

# For files in folders with other names: a key that only files of this kind
# have, or after a star the ending of one. The first match decides.
_SIGNATURES = {
  'fcfd': 'meta/weight_l2',
  'icd': 'default.f_s',
  'imagenet_networks': 'num_params',
  'kd2m': 'in/xs',
  'multilabel_metrics': 'target_voc',
  'networks': 'param_shapes',
  'preprocessing': 'crops',
  'ssim_components': 'l_map',
  'ssim_core': '*_ssim_map',
  'ssim_fpn': 'l0_W',
  'ssim_minmax': '*_grad_student',
  'train_step': 'student_weights_seed',
  'lshfm': 'W',
  'lshfm_average': 'theta',
}


def kind_of(path: pathlib.Path) -> str | None:
  """Returns the kind of a file from its folder's name, its name or its keys."""
  by_name = (path.parent.name, path.stem.split('_seed')[0])
  for name in by_name:
    if name in KINDS:
      return name
  if not zipfile.is_zipfile(path):
    return None
  with np.load(path) as stored:
    keys = stored.files
  for kind, key in _SIGNATURES.items():
    ending = key.removeprefix('*')
    if any(k.endswith(ending) if key != ending else k == key for k in keys):
      return kind
  return None


def run(folder: pathlib.Path, write: Callable[[str], None] = print) -> int:
  """Checks all files under `folder`.

  Args:
    folder: Searched with its subfolders for .npz and .json files.
    write: Prints one line.

  Returns:
    Exit status: 0 if there are files, all are of a known kind and all pass.
  """
  paths = sorted(
    path
    for path in folder.rglob('*')
    if path.suffix in ('.npz', '.json') and path.is_file()
  )
  files = arrays = failed = 0
  unknown = []
  for path in paths:
    name = path.relative_to(folder)
    results = _check(path)
    if results is None:
      unknown.append(name)
      continue
    bad = [r for r in results if not r.passed]
    files, arrays, failed = files + 1, arrays + len(results), failed + len(bad)
    worst = max(results, key=lambda r: r.error / (r.tolerance or 1e-300))
    write(
      f'{"FAIL" if bad else "ok  "} {name}: {len(results)} arrays, worst '
      f'{worst.error:.1e} of {worst.tolerance:.0e} ({worst.name})'
    )
    for result in bad[:_SHOWN]:
      write(f'     {result.name}: {result.error:.2e} > {result.tolerance:.0e}')
    if len(bad) > _SHOWN:
      write(f'     and {len(bad) - _SHOWN} more')
  for name in unknown:
    write(f'unknown {name}: no runner for this kind')
  write(
    f'golden: {files} files, {arrays} arrays, {failed} failed, '
    f'{len(unknown)} unknown'
  )
  return int(failed > 0 or arrays == 0 or bool(unknown))


def _check(path: pathlib.Path) -> list[Comparison] | None:
  """Returns the comparisons of one file (None: the kind is unknown)."""
  try:
    kind = kind_of(path)
    if kind is None or path.suffix != '.npz':
      return None
    if not zipfile.is_zipfile(path):
      return [Comparison('not a whole npz file', np.inf, 0.0)]
    # An exception is a failure of this file; the remaining files are checked.
    return KINDS[kind](path) or None
  except Exception as error:
    first_line = (str(error).splitlines() or [''])[0][:200]
    message = f'{type(error).__name__}: {first_line}'
    return [Comparison(message, np.inf, 0.0)]
