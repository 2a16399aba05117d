"""Statistics of a study: means, standard errors and paired differences."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

from kdjax.report.logs import Run, Study


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """Mean over seeds and its standard error.

  Attributes:
    mean: The mean.
    standard_error: Standard error of the mean; None for a single seed.
    count: Number of seeds.
  """

  mean: float
  standard_error: float | None
  count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """Statistics of one arm of a study, over its finished runs.

  Attributes:
    arm: Name of the arm.
    role: 'teacher', 'student' or 'distilled'.
    network: Name of the network.
    unfinished: Number of runs that are not counted.
    accuracy: Score after the last epoch, in [0, 1].
    difference: Accuracy minus that of the student alone, paired by seed; None
      for other roles.
    gap_closed: The difference as a fraction of the gap between the student
      alone and the teacher; None without a positive gap.
    parameters: Number of parameters of the network.
    forward_flops: Floating-point operations of the forward pass of one image.
    seconds: Wall time of a run.
    images_per_second: Training throughput.
  """

  arm: str
  role: str
  network: str
  unfinished: int
  accuracy: Estimate | None
  difference: Estimate | None
  gap_closed: float | None
  parameters: int | None
  forward_flops: float | None
  seconds: Estimate | None
  images_per_second: Estimate | None


def estimate(values: Sequence[float]) -> Estimate | None:
  r"""Computes the mean and the standard error of the mean.

  .. math::
    \bar x = \frac1n \sum_i x_i, \qquad
    s = \sqrt{\frac{1}{n (n - 1)} \sum_i (x_i - \bar x)^2}

  Args:
    values: :math:`x_i`, one for each seed.

  Returns:
    The estimate; None without values.
  """
  if not values:
    return None
  count = len(values)
  error = statistics.stdev(values) / math.sqrt(count) if count > 1 else None
  return Estimate(
    mean=statistics.fmean(values), standard_error=error, count=count
  )


def summarize(study: Study) -> tuple[Row, ...]:
  """Computes one row for each arm, in the study's order.

  The difference is paired: each distilled student is compared with the student
  trained alone from the same seed; seeds that only one of the two has finished
  are excluded. The gap is the difference of the means of teacher and student
  alone. It treats the teacher as fixed, so `gap_closed` has no standard error.

  Args:
    study: The study.

  Returns:
    The rows.
  """
  arms = study.arms
  alone = _accuracies(arms.get(study.arm_of_role('student') or '', ()))
  teacher = _accuracies(arms.get(study.arm_of_role('teacher') or '', ()))
  gap = None
  if alone and teacher:
    gap = statistics.fmean(teacher.values()) - statistics.fmean(alone.values())
  return tuple(_row(arm, runs, alone, gap) for arm, runs in arms.items())


def _row(
  arm: str, runs: Sequence[Run], alone: dict[int, float], gap: float | None
) -> Row:
  finished = [run for run in runs if run.accuracy is not None]
  own = _accuracies(runs)
  difference = None
  if runs[0].role == 'distilled':
    difference = estimate([own[s] - alone[s] for s in own if s in alone])
  gap_closed = None
  if difference is not None and gap is not None and gap > 0:
    gap_closed = difference.mean / gap
  return Row(
    arm=arm,
    role=runs[0].role,
    network=str(runs[0].config.get('network', '')),
    unfinished=len(runs) - len(finished),
    accuracy=estimate(list(own.values())),
    difference=difference,
    gap_closed=gap_closed,
    parameters=_first(finished, 'parameters'),
    forward_flops=_first(finished, 'forward_flops'),
    seconds=_mean(finished, 'seconds'),
    images_per_second=_mean(finished, 'images_per_second'),
  )


def _accuracies(runs: Sequence[Run]) -> dict[int, float]:
  """Returns accuracy by seed, of finished runs."""
  return {run.seed: run.accuracy for run in runs if run.accuracy is not None}


def _values(runs: Sequence[Run], name: str) -> list[Any]:
  """Returns a number of the runs' final lines, of those that have it."""
  values = [(run.end or {}).get(name) for run in runs]
  return [value for value in values if value is not None]


def _mean(runs: Sequence[Run], name: str) -> Estimate | None:
  return estimate(_values(runs, name))


def _first(runs: Sequence[Run], name: str) -> Any:
  return next(iter(_values(runs, name)), None)
