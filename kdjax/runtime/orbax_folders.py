"""A look at an orbax folder's files before orbax reads them."""

import tensorstore as ts
from etils import epath

_MANIFEST = 'manifest.ocdbt'


def check_readable(folder: epath.PathLike) -> None:
  """Reads every array of an orbax folder once, one after the other.

  Orbax reads all of them at once. When one fails it closes its event loop while
  the others still report to it, and each of those prints a traceback of its
  own, so a torn folder is found here first.

  Args:
    folder: The one that holds `manifest.ocdbt`, or a folder for each array.

  Raises:
    ValueError: If a file is missing or torn.
  """
  folder = epath.Path(folder)
  if not (folder / _MANIFEST).exists():
    if any(folder.glob('*/.zarray')) or any(folder.glob('*/zarr.json')):
      return  # written without the one file for all arrays
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
  """A folder, local or of an object store, as tensorstore calls it."""
  remote = '://' in str(folder)
  return f'{folder}/' if remote else f'file://{folder.absolute()}/'
