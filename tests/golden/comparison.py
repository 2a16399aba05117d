"""One stored array against one computed: the error, and whether it will do."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np


class Stored(dict[str, np.ndarray]):
  """The arrays of a golden file; one that is not there is named."""

  @classmethod
  def read(cls, path: pathlib.Path) -> 'Stored':
    """All arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as file:
      return cls(file)

  def __missing__(self, key: str):
    raise ValueError(f'the file holds no {key}')


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The outcome of one array of one golden file.

  Attributes:
    name: The array's key in the file.
    error: Largest absolute difference over the scale (see `compare`).
    tolerance: What `error` may be.
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
  """Relative error of a whole array: max|got - want| / max|want|.

  Args:
    name: The array's key.
    got: What kdjax computed.
    want: What the file stores; NaN there must be NaN in `got`.
    tolerance: The relative error allowed.
    scale: Divides the difference instead of max|want|, for values that are
      small differences of large ones. It is stated by the golden's README.
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


def left_over(
  stored: Mapping[str, np.ndarray],
  results: Iterable[Comparison],
  inputs: tuple[str, ...],
) -> list[Comparison]:
  """A failed comparison for each stored array that nobody looked at.

  Args:
    stored: The arrays of the file.
    results: What was compared.
    inputs: Names of what is no result; with a dot or a slash at the end, what
      all of a group begin with.
  """
  groups = tuple(name for name in inputs if name.endswith(('.', '/')))
  known = {*inputs, *(result.name.split()[0] for result in results)}
  return [
    Comparison(f'{key}: nobody compares it', np.inf, 0.0)
    for key in stored
    if key not in known and not key.startswith(groups)
  ]
