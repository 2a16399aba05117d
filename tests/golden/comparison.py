"""Comparison of stored arrays with computed ones."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np


class Stored(dict[str, np.ndarray]):
  """The arrays of a golden file; a missing key raises a readable error."""

  @classmethod
  def read(cls, path: pathlib.Path) -> 'Stored':
    """Reads all arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as file:
      return cls(file)

  def __missing__(self, key: str):
    raise ValueError(f'the file has no {key}')


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The outcome of one array of one golden file.

  Attributes:
    name: The array's key in the file.
    error: Largest absolute difference over the scale (see `compare`).
    tolerance: Largest allowed `error`.
  """

  name: str
  error: float
  tolerance: float

  @property
  def passed(self) -> bool:
    """Whether the error is within the tolerance; NaN never is."""
    return bool(self.error <= self.tolerance)


def compare(
  name: str,
  got: np.typing.ArrayLike,
  want: np.typing.ArrayLike,
  tolerance: float,
  *,
  scale: float | None = None,
) -> Comparison:
  """Computes the relative error of an array: max|got - want| / max|want|.

  Args:
    name: The array's key.
    got: The computed array.
    want: The stored array; where it is NaN, `got` must be NaN.
    tolerance: Largest allowed relative error.
    scale: Divides the difference instead of max|want|, for values that are
      small differences of large ones (default: max|want|).
  """
  got, want = np.asarray(got), np.asarray(want)
  if got.shape != want.shape:
    return Comparison(f'{name} {got.shape}!={want.shape}', np.inf, tolerance)
  if want.size == 0:
    return Comparison(name, 0.0, tolerance)
  got, want = got.astype(np.float64), want.astype(np.float64)
  same = (got == want) | (np.isnan(got) & np.isnan(want))
  if same.all():
    return Comparison(name, 0.0, tolerance)
  if scale is None:
    finite = want[np.isfinite(want)]
    scale = float(np.max(np.abs(finite), initial=0.0)) or 1.0
  with np.errstate(invalid='ignore'):
    error = float(np.max(np.abs(got - want)[~same]) / scale)
  return Comparison(name, np.inf if np.isnan(error) else error, tolerance)


def not_compared(
  stored: Mapping[str, np.ndarray],
  results: Iterable[Comparison],
  inputs: tuple[str, ...],
) -> list[Comparison]:
  """Returns a failed comparison for each stored array that is not compared.

  Args:
    stored: The arrays of the file.
    results: The comparisons of the file.
    inputs: Names of the arrays that are inputs; a name that ends with a dot or
      a slash is the prefix of a group of inputs.
  """
  groups = tuple(name for name in inputs if name.endswith(('.', '/')))
  known = {*inputs, *(result.name.split()[0] for result in results)}
  return [
    Comparison(f'{key}: not compared', np.inf, 0.0)
    for key in stored
    if key not in known and not key.startswith(groups)
  ]
