"""A look at an orbax folder's files before orbax reads them."""

import pathlib

import tensorstore as ts

_MANIFEST = 'manifest.ocdbt'


def check_readable(folder: pathlib.Path) -> None:
  """Reads every array of an orbax folder once, one after the other.

  Orbax reads all of them at once. When one fails it closes its event loop while
  the others still report to it, and each of those prints a traceback of its
  own, so a torn folder is found here first.

  Args:
    folder: The one that holds `manifest.ocdbt`, or a folder for each array.

  Raises:
    ValueError: If a file is missing or torn.
  """
  if not (folder / _MANIFEST).exists():
    if any(folder.glob('*/.zarray')) or any(folder.glob('*/zarr.json')):
      return  # written without the one file for all arrays
    raise ValueError(f'{folder} has no {_MANIFEST}')
  try:
    _read_all(folder)
  except Exception as error:  # tensorstore raises many kinds
    raise ValueError(f'a file of {folder} is torn: {error}') from error


def _read_all(folder: pathlib.Path) -> None:
  base = {'driver': 'file', 'path': f'{folder.absolute()}/'}
  store = ts.KvStore.open({'driver': 'ocdbt', 'base': base}).result()
  for name in store.list().result():
    store.read(name).result()
