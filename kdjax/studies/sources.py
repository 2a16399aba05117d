"""Trained networks to start from: run folders and files of weights."""

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence

from kdjax import convert, models
from kdjax.names import check_run_name
from kdjax.studies.run_config import wrong_entries


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """One trained network.

  Attributes:
    path: Path for `kdjax.convert.load`.
    network: Name of the network.
    arm: Name in tables.
    seed: Seed of its training; 0 if unknown.
    role: `teacher`, `student` (trained alone) or `distilled`; `given` if
      unknown.
    image_shape: Height, width and channels of its training images; `None` if
      unknown.
  """

  path: pathlib.Path
  network: str
  arm: str
  seed: int
  role: str
  image_shape: tuple[int, int, int] | None


def find_sources(
  paths: Sequence[pathlib.Path],
  *,
  names: Sequence[str] = (),
  network: str | None = None,
  say: Callable[[str], object],
) -> list[Source]:
  """Returns the networks of run folders, work folders and files.

  Args:
    paths: Run folders, work folders (all of their runs) or files of weights.
    names: Names for tables, one for each path (empty: what each tells).
    network: Network name of weights that do not tell theirs.
    say: Called with the runs that are left out because they hold no weights.

  Raises:
    ValueError: If there is none, or one is missing, has not ended, does not
      tell its network or has a damaged configuration, or if two have the same
      name and seed.
  """
  if not paths:
    raise ValueError('There is no network to probe; give --run=FOLDER.')
  if names and len(names) != len(paths):
    raise ValueError(
      f'--names has {len(names)} names for {len(paths)} runs; give one for '
      'each --run.'
    )
  for name in names:
    check_run_name('--names', name)
  found = []
  for place, path in enumerate(paths):
    name = names[place] if names else None
    inside = _runs_in(path, say)
    for run in inside:
      source = _source(run, network)
      if name is not None:
        arm = f'{name}-{source.arm}' if inside != [path] else name
        source = dataclasses.replace(source, arm=arm)
      found.append(source)
  for source in found:
    try:
      check_run_name(f'--run={source.path}', source.arm)
    except ValueError as error:
      raise ValueError(f'{error} Give another name by --names.') from None
  _check_different(found)
  return found


def _runs_in(
  path: pathlib.Path, say: Callable[[str], object]
) -> list[pathlib.Path]:
  """Returns the path, or the ended runs of a work folder."""
  if not path.exists():
    raise ValueError(f'--run={path} does not exist.')
  if not (path / 'runs').is_dir():
    return [path]
  inside = sorted(path.glob('runs/*/seed*'))
  ended = [run for run in inside if (run / 'student').is_dir()]
  if not ended:
    raise ValueError(
      f'--run={path} holds no run that has ended, with its weights in '
      f'student/; it holds {len(inside)} that have not.'
    )
  if left := [run for run in inside if run not in ended]:
    say(f'Left out, without student/: {", ".join(map(str, left))}')
  return ended


def _source(path: pathlib.Path, network: str | None) -> Source:
  about = convert.described(path)
  if (path / 'config.json').exists() and not (path / 'student').is_dir():
    raise ValueError(f'--run={path} holds no student/: the run has not ended.')
  name = about.get('network') or network
  if name is None:
    raise ValueError(
      f'--run={path} does not say of which network it is; give --network=NAME.'
    )
  if wrong := wrong_entries({**about, 'network': name}):
    raise ValueError(f'What --run={path} says cannot be right: {wrong}.')
  try:
    models.check_name(name)
  except ValueError as error:
    raise ValueError(f'--run={path}: {error}') from None
  shape = about.get('image_shape')
  return Source(
    path=path,
    network=name,
    arm=about.get('arm', path.stem),
    seed=about.get('seed', 0),
    role=about.get('role', 'given'),
    image_shape=None if shape is None else tuple(shape),
  )


def _check_different(sources: list[Source]) -> None:
  seen: dict[tuple[str, int], pathlib.Path] = {}
  for source in sources:
    key = (source.arm, source.seed)
    if key in seen:
      raise ValueError(
        f'{seen[key]} and {source.path} would both be {source.arm}, seed '
        f'{source.seed}, in the table; tell them apart by --names, one for '
        'each --run.'
      )
    seen[key] = source.path


def by_seed(
  sources: Sequence[Source], seeds: Sequence[int]
) -> Iterator[tuple[Source, int]]:
  """Yields each source with each seed, or with its own if there are none.

  Sources of one name get names of their own if they are used with several
  seeds, so that every pair has a row in a table.

  Args:
    sources: The networks.
    seeds: Seeds of the probes.
  """
  count = collections.Counter(source.arm for source in sources)
  for source in sources:
    if not seeds:
      yield source, source.seed
      continue
    arm = source.arm
    if count[arm] > 1:
      arm = f'{arm}_seed{source.seed}'
    for seed in seeds:
      yield dataclasses.replace(source, arm=arm), seed
