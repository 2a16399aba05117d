"""The mean of the last epochs' weights, also of runs that were stopped."""

import dataclasses

import jax
import numpy as np
import pytest

from kdjax.runtime import checkpoints as checkpoints_lib
from kdjax.runtime import files
from kdjax.runtime.signals import Interrupted
from kdjax.train import Recipe
from kdjax.train.averaging import snapshot_factors
from tests.train import support
from tests.train.test_run import StopAfter

RECIPE = Recipe(epochs=4, batch_size=support.BATCH, average_last=3)


@pytest.fixture(scope='module')
def program():
  parts = support.parts(recipe=RECIPE)
  return support.program(dataclasses.replace(parts, snapshots=True))


def _run(folder, program, recipe=RECIPE):
  return support.run(folder, program, recipe=recipe)


@pytest.fixture(scope='module')
def whole(program, tmp_path_factory):
  """The run that was never stopped, and its weights at the end of epochs."""
  made = _run(tmp_path_factory.mktemp('whole'), program)
  seen = []
  add = program.add_snapshot

  def noting(state, factor):
    seen.append(support.numbers(state.student_variables))
    return add(state, factor)

  program.add_snapshot = noting
  support.train(made)
  program.add_snapshot = add
  return made.folder, seen


def _stored(program, folder, name):
  like = program.parts.student.describe(support.IMAGE_SHAPE).variables
  return checkpoints_lib.load_variables(folder / name, like)


def _mean(snapshots, factors):
  total = sum(factors)
  return jax.tree.map(
    lambda *values: sum(f * v for f, v in zip(factors, values)) / total,
    *snapshots,
  )


def test_the_mean_of_weights_and_statistics_is_left_beside_the_last(
  program, whole
):
  folder, seen = whole
  assert len(seen) == 3
  average = _stored(program, folder, 'student_average')
  support.close(average, _mean(seen, (1, 1, 1)), 1e-6)
  support.identical(_stored(program, folder, 'student'), seen[-1])
  with pytest.raises(AssertionError):
    support.close(average, seen[-1], 1e-4)


def test_the_mean_is_what_the_end_line_scores(program, whole):
  folder, _ = whole
  average = _stored(program, folder, 'student_average')
  end = files.read_lines(folder / 'metrics.jsonl')[-1]
  features, _ = program.parts.student.apply(
    average, support.dataset().test.images / np.float32(255), train=False
  )
  right = np.argmax(features.logits, -1) == support.dataset().test.labels
  assert end['average_correct'] == right.sum()
  assert end['average_accuracy'] == pytest.approx(right.mean())


@pytest.mark.parametrize('looks', [2, 3, 4])
def test_stopped_and_resumed_it_is_the_same_to_the_bit(
  program, whole, tmp_path, looks
):
  with pytest.raises(Interrupted):
    support.train(_run(tmp_path, program), StopAfter(looks))
  support.train(_run(tmp_path, program))
  support.identical(
    _stored(program, tmp_path, 'student_average'),
    _stored(program, whole[0], 'student_average'),
  )


def test_as_published_the_second_snapshot_stands_for_the_first(
  program, whole, tmp_path
):
  published = dataclasses.replace(RECIPE, average_form='as_published')
  support.train(_run(tmp_path, program, published))
  average = _stored(program, tmp_path, 'student_average')
  support.close(average, _mean(whole[1], (0, 2, 1)), 1e-6)


@pytest.mark.parametrize('form', ['mean', 'as_published'])
@pytest.mark.parametrize('count', [1, 2, 3, 10])
def test_there_are_as_many_factors_as_their_sum(count, form):
  factors = snapshot_factors(count, form)
  assert len(factors) == sum(factors) == count


@pytest.mark.parametrize('last', [0, 5])
def test_refuses_epochs_that_there_are_not(last):
  with pytest.raises(ValueError, match='from 1 to the 4 epochs, got'):
    Recipe(epochs=4, average_last=last)
