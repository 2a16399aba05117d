"""Runs of one program, several at once.

A run is a course from dispatch to dispatch (`Run.course`): it says which steps
it wants and is sent the carry after them. Whoever goes through several courses
can take the steps of all in one dispatch: each on a device of its own, where
nothing has to be said between devices, or as one batched computation.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.runtime.mesh import lanes
from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import Interrupted, StopRequest
from kdjax.train.loop import Course, Dispatch, DivergedError
from kdjax.train.resident import Program
from kdjax.train.run import Run
from kdjax.train.streamed import StreamedProgram
from kdjax.typing import PyTree

# Which runs of one program train at once. `auto`: each on a device of its own,
# where more than half of the devices get one and no cores share its batches,
# which is faster (`benchmarks.together`). `vmap`: all, as one batched
# computation. `never`: one after the other, each on all devices.
Together = Literal['auto', 'never', 'vmap']
# From what runs ask for to what each gets, by run.
Advance = Callable[[dict[int, Dispatch]], dict[int, PyTree]]


def train(
  runs: Sequence[Run],
  request: StopRequest,
  progress: Progress,
  together: Together,
) -> None:
  """Trains all runs to their ends, but those that have been there.

  Args:
    runs: Of one program and one teacher.
    request: Whether to stop.
    progress: What a person sees.
    together: Which at once.

  Raises:
    ValueError: If a folder holds a run of another configuration.
    DivergedError: If a run's loss stops being finite; those that share its
      dispatches are trained to their ends first.
    Interrupted: If a signal asked for it; all states are saved.
  """
  left = [run for run in runs if not run.finished]
  if not left:
    return
  program = left[0].program
  # By all runs, not by those that are left: one that goes on alone is computed
  # as it was beside the others, to the same bits.
  count = at_once(program, len(runs), together)
  if count == 1:
    for run in left:
      train_one(run, request, progress)
    return
  if together == 'vmap':
    advance = batched(program, count)
  else:
    advance = side_by_side(program)
  for start in range(0, len(left), count):
    group = left[start : start + count]
    courses = [run.course(request, progress) for run in group]
    go_through(courses, advance)


def train_one(run: Run, request: StopRequest, progress: Progress) -> None:
  """Trains a run, not at its end, by itself; see `train`."""
  go_through([run.course(request, progress)], one_by_one(run.program))


def at_once(program: Program, runs: int, together: Together) -> int:
  """How many of so many runs share their dispatches."""
  resident = not isinstance(program, StreamedProgram)
  if together == 'never' or not resident or jax.process_count() > 1:
    return 1
  if together == 'vmap':
    return runs
  devices = jax.local_device_count()
  if 2 * runs <= devices or program.devices.mesh.shape['fsdp'] > 1:
    return 1  # devices would stand idle, or the teacher fits none of them
  shared = program.devices.count > 1
  if shared and jax.default_backend() == 'cpu':
    return 1  # half a batch on a core is faster than half of the runs
  return min(runs, devices)


def go_through(courses: Sequence[Course[None]], advance: Advance) -> None:
  """All courses to their ends, a dispatch of each at a time.

  One that ends early, well or not, does not keep the others from going on;
  what went wrong is raised in the end.
  """
  asked: dict[int, Dispatch] = {}
  failures: list[Exception] = []

  def follow(index: int, step: Callable[[], Dispatch]) -> None:
    asked.pop(index, None)
    try:
      asked[index] = step()
    except StopIteration:
      pass
    except (DivergedError, Interrupted) as failure:
      failures.append(failure)

  try:
    for index, course in enumerate(courses):
      follow(index, lambda course=course: next(course))
    while asked:
      for index, carry in advance(dict(asked)).items():
        send = courses[index].send
        follow(index, lambda send=send, carry=carry: send(carry))
  finally:
    for course in courses:
      course.close()
  if failures:
    # That somebody asked to stop says more than what else happened.
    failures.sort(key=lambda failure: not isinstance(failure, Interrupted))
    raise failures[0]


def one_by_one(program: Program) -> Advance:
  """Each run by a dispatch of its own, on all devices."""

  def advance(asked):
    carries = {}
    for index, one in asked.items():
      carry = program.advance(
        one.carry,
        one.teacher_variables,
        program.train_data,
        one.order,
        np.int32(one.stop),
        one.looked_up,
      )
      carries[index] = program.devices.awaited(carry)
    return carries

  return advance


def batched(program: Program, count: int) -> Advance:
  """So many runs in one computation with an axis more."""
  compiled = program.in_one()

  def advance(asked):
    filled = _filled(asked, count)
    carry, order, looked_up = (
      jax.tree.map(lambda *arrays: jnp.stack(arrays), *trees)
      for trees in zip(
        *((one.carry, one.order, one.looked_up) for one in filled)
      )
    )
    stops = np.asarray([one.stop for one in filled], np.int32)
    teacher, data = filled[0].teacher_variables, program.train_data
    carry = compiled(carry, teacher, data, order, stops, looked_up)
    return {
      index: jax.tree.map(lambda array, place=place: array[place], carry)
      for place, index in enumerate(asked)
    }

  return advance


def side_by_side(program: Program) -> Advance:
  """Each run on a device of its own, at most as many as there are."""
  side = lanes(jax.local_device_count())
  compiled = program.in_lanes(side)
  data = side.everywhere(program.train_data)
  # The same for all runs, and placed once.
  teacher: list[PyTree] = []

  def advance(asked):
    filled = _filled(asked, side.count)
    if not teacher:
      teacher.append(side.everywhere(filled[0].teacher_variables))
    carry, order, stop, looked_up = (
      side.spread(trees)
      for trees in zip(
        *(
          (one.carry, one.order, jnp.int32(one.stop), one.looked_up)
          for one in filled
        )
      )
    )
    found = side.collect(
      compiled(carry, teacher[0], data, order, stop, looked_up)
    )
    place = program.devices.replicate
    return {index: place(carry) for index, carry in zip(asked, found)}

  return advance


def _filled(asked: dict[int, Dispatch], count: int) -> list[Dispatch]:
  """As many as the executable takes: again the last one, without a step."""
  found = list(asked.values())
  return found + [found[-1]._replace(stop=0)] * (count - len(found))
