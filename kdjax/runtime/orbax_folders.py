"""Check that an orbax folder can be read, before orbax reads it."""

import tensorstore as ts
from etils import epath

from kdjax.runtime.files import is_remote

_MANIFEST = 'manifest.ocdbt'


def check_readable(folder: epath.PathLike) -> None:
  """Reads every array of an orbax folder once, one after the other.

  Orbax reads all of them at once. When one fails, it closes its event loop
  while the others still report to it, and each of those prints a traceback.
  This check finds a torn file before that.

  Args:
    folder: The folder with `manifest.ocdbt`, or with one folder per array.

  Raises:
    ValueError: If a file is missing or torn.
  """
  folder = epath.Path(folder)
  if not (folder / _MANIFEST).exists():
    if any(folder.glob('*/.zarray')) or any(folder.glob('*/zarr.json')):
      return  # written with one folder per array
    raise ValueError(f'{folder} has no {_MANIFEST}')
  try:
    _read_all(folder)
  except Exception as error:  # tensorstore raises many kinds
    raise ValueError(f'a file of {folder} is torn: {error}') from error


def _read_all(folder: epath.Path) -> None:
  base = {'driver': 'ocdbt', 'base': _url(folder)}
  store = ts.KvStore.open(base).result()
  for name in store.list().result():
    store.read(name).result()


def _url(folder: epath.Path) -> str:
  """Returns the URL of a local or remote folder for tensorstore."""
  return f'{folder}/' if is_remote(folder) else f'file://{folder.absolute()}/'
