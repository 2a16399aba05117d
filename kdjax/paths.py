"""Paths that users give, in flags, in the environment and in dataset names."""

import os
import pathlib
import re

from etils import epath

# Object stores that `epath` can write to.
SCHEMES = ('gs', 's3', 'az')

# pathlib has made one slash of the two where it has seen the URL before.
_URL = re.compile(rf'([A-Za-z][A-Za-z0-9+.-]*)://|({"|".join(SCHEMES)}):/(?!/)')
_NAME_BYTES = 255  # longest name of a file or folder on common file systems
_PATH_BYTES = 4095  # longest path on Linux


def any_path(given: str | os.PathLike[str]) -> epath.Path:
  """Returns a path on this machine or in an object store.

  Args:
    given: A local path, absolute or relative, where `~` is the home folder, or
      a URL such as `gs://BUCKET/FOLDER`.

  Raises:
    ValueError: If it is empty, too long, a URL of another scheme, or in the
      home folder of an unknown user.
  """
  text = os.fspath(given)
  url = _URL.match(text)
  if url is None:
    return epath.Path(local_path(text))
  scheme = (url[1] or url[2]).lower()
  if scheme not in SCHEMES:
    known = ', '.join(f'{scheme}://' for scheme in SCHEMES)
    raise ValueError(
      f'{text} is not a path: {scheme}:// is none of {known}. Give a local '
      'path or a URL of an object store.'
    )
  rest = text[url.end() :]
  if not rest.strip('/') or '\0' in rest:
    raise ValueError(
      f'{text!r} names no bucket; give {scheme}://BUCKET/FOLDER.'
    )
  _check_length(rest)
  return epath.Path(f'{scheme}://{rest}')


def local_path(given: str | os.PathLike[str]) -> pathlib.Path:
  """Returns a path on this machine, with `~` expanded.

  Args:
    given: A local path; see `any_path`.

  Raises:
    ValueError: If it is empty, too long, a URL, or in the home folder of an
      unknown user.
  """
  text = os.fspath(given)
  if not text or '\0' in text:
    raise ValueError(
      f'{text!r} is not a path. Give a file or folder; "." is the current one.'
    )
  if _URL.match(text):
    raise ValueError(
      f'{text} is a URL, which cannot be used here. Copy it to this machine, '
      'or mount it, and give the local path.'
    )
  path = pathlib.Path(text)
  if text.startswith('~'):
    path = _expanded(path)
  elif path.parts and path.parts[0].startswith('~'):
    path = path.absolute()  # so that ./~x stays a name when it is read again
  _check_length(str(path))
  return path


def check_storable(path: str | os.PathLike[str]) -> None:
  """Checks that arrays can be stored below a path.

  Args:
    path: A local path, absolute or relative to the current folder.

  Raises:
    ValueError: If it is not UTF-8, which the library that stores arrays needs.
  """
  whole = os.path.abspath(path)
  try:
    whole.encode()
  except UnicodeEncodeError:
    raise ValueError(
      f'Arrays cannot be stored in {whole!a}, whose name is not UTF-8. Give '
      'another folder.'
    ) from None


def _expanded(path: pathlib.Path) -> pathlib.Path:
  try:
    return path.expanduser()
  except RuntimeError:
    raise ValueError(
      f'{path} cannot be found: {path.parts[0]} is not the home folder of a '
      f'user. Give ./{path} for a name that starts with ~.'
    ) from None


def _check_length(text: str) -> None:
  longest = max(text.split('/'), key=lambda name: len(os.fsencode(name)))
  sizes = len(os.fsencode(longest)), len(os.fsencode(text))
  if sizes[0] > _NAME_BYTES or sizes[1] > _PATH_BYTES:
    raise ValueError(
      f'The path {text[:60]}… is too long: {sizes[1]} bytes with a name of '
      f'{sizes[0]}, where {_PATH_BYTES} and {_NAME_BYTES} are possible.'
    )
