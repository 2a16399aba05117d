"""What a study says in numbers: means, errors and paired differences."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

from kdjax.report.logs import Run, Study


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """A mean over seeds and its standard error, of which one seed has none."""

  mean: float
  standard_error: float | None
  count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One arm of a study, over its finished runs."""

  arm: str
  role: str
  network: str
  unfinished: int  # runs that are not counted
  accuracy: Estimate | None  # share of right answers after the last epoch
  difference: Estimate | None  # accuracy minus the student alone's, by seed
  gap_closed: float | None  # share of the way from student alone to teacher
  parameters: int | None
  forward_flops: float | None  # one image
  seconds: Estimate | None
  images_per_second: Estimate | None


def estimate(values: Sequence[float]) -> Estimate | None:
  r"""Mean and standard error of the mean.

  .. math::
    \bar x = \frac1n \sum_i x_i, \qquad
    s = \sqrt{\frac{1}{n (n - 1)} \sum_i (x_i - \bar x)^2}

  Returns:
    None for no values; a standard error of None for one.
  """
  if not values:
    return None
  count = len(values)
  error = statistics.stdev(values) / math.sqrt(count) if count > 1 else None
  return Estimate(
    mean=statistics.fmean(values), standard_error=error, count=count
  )


def summarize(study: Study) -> tuple[Row, ...]:
  """One row for each arm, in the study's order.

  The difference is paired: each distilled student against the student that
  was trained alone from the same seed, seeds that only one of them finished
  left out. The gap is that of the two means and takes the teacher as given,
  so the share of it carries no error of its own; it is None without a gap.
  """
  arms = study.arms
  alone = _accuracies(arms.get(study.arm_of_role('student') or '', ()))
  taught = _accuracies(arms.get(study.arm_of_role('teacher') or '', ()))
  gap = None
  if alone and taught:
    gap = statistics.fmean(taught.values()) - statistics.fmean(alone.values())
  return tuple(_row(arm, runs, alone, gap) for arm, runs in arms.items())


def _row(arm, runs, alone, gap):
  finished = [run for run in runs if run.accuracy is not None]
  own = _accuracies(runs)
  difference = None
  if runs[0].role == 'distilled':
    difference = estimate([own[s] - alone[s] for s in own if s in alone])
  share = None
  if difference is not None and gap is not None and gap > 0:
    share = difference.mean / gap
  return Row(
    arm=arm,
    role=runs[0].role,
    network=str(runs[0].config.get('network', '')),
    unfinished=len(runs) - len(finished),
    accuracy=estimate(list(own.values())),
    difference=difference,
    gap_closed=share,
    parameters=_first(finished, 'parameters'),
    forward_flops=_first(finished, 'forward_flops'),
    seconds=_mean(finished, 'seconds'),
    images_per_second=_mean(finished, 'images_per_second'),
  )


def _accuracies(runs: Sequence[Run]) -> dict[int, float]:
  return {run.seed: run.accuracy for run in runs if run.accuracy is not None}


def _values(runs, name):
  values = [(run.end or {}).get(name) for run in runs]
  return [value for value in values if value is not None]


def _mean(runs, name):
  return estimate(_values(runs, name))


def _first(runs, name):
  return next(iter(_values(runs, name)), None)
