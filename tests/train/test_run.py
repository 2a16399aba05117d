import dataclasses
import json
import shutil
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.methods import Method, Updates
from kdjax.runtime import checkpoints as checkpoints_lib
from kdjax.runtime import files
from kdjax.runtime.signals import Interrupted, StopRequest
from kdjax.train import DivergedError, Recipe
from tests.train import support

TIMES = ('seconds', 'images_per_second', 'compilations')  # of one process


class StopAfter(StopRequest):
  """Asks to stop after so many looks; the loop looks after each dispatch."""

  def __init__(self, looks):
    self.looks = looks

  @property
  def asked(self):
    self.looks -= 1
    return self.looks < 0


@pytest.fixture(scope='module')
def program():
  return support.program(support.parts('kd'))


@pytest.fixture(scope='module')
def trained(program, tmp_path_factory):
  """A run that was never stopped, and what XLA compiled for it."""
  compiled = []

  def note(event, seconds, *, fun_name='', **more):
    if event == '/jax/core/compile/backend_compile_duration':
      compiled.append(fun_name)

  made = support.run(tmp_path_factory.mktemp('whole'), program)
  jax.monitoring.register_event_duration_secs_listener(note)
  support.train(made)
  jax.monitoring.unregister_event_duration_listener(note)
  return made, compiled


@pytest.fixture(scope='module')
def whole(trained):
  """The folder of a run that was never stopped."""
  return trained[0].folder


def test_xla_compiles_the_step_once_for_a_whole_run(trained):
  _, compiled = trained
  assert sum('_advance' in name for name in compiled) == 1
  assert sum('_evaluate_batches' in name for name in compiled) == 1


def _lines(folder):
  return [
    {name: value for name, value in line.items() if name not in TIMES}
    for line in files.read_lines(folder / 'metrics.jsonl')
  ]


def _student(program, folder):
  like = program.parts.student.describe(support.IMAGE_SHAPE).variables
  return checkpoints_lib.load_variables(folder / 'student', like)


def _assert_same_end(program, one, other):
  assert _lines(one) == _lines(other)
  support.identical(_student(program, one), _student(program, other))
  with np.load(one / 'features.npz') as a, np.load(other / 'features.npz') as b:
    support.identical(dict(a), dict(b))


def test_leaves_what_the_report_needs(whole):
  kinds = [line['kind'] for line in _lines(whole)]
  assert kinds == ['train', 'eval'] * 3 + ['end']
  end = files.read_lines(whole / 'metrics.jsonl')[-1]
  assert end['compilations'] == 1
  assert end['step'] == 9
  assert end['correct'] == round(end['accuracy'] * support.TEST)
  assert end['parameters'] == 16 * 6 + 2 * 6 + 6 * 3 + 3
  config = json.loads((whole / 'config.json').read_text())
  assert config['network'] == 'dense'


def test_a_dispatch_is_never_asked_for_more_than_an_epoch(
  program, tmp_path, monkeypatch
):
  # Processes agree on it by an integer of 64 bits, and epochs can be short.
  asked = []

  def of_first(self, number):
    asked.append(number)
    return number

  monkeypatch.setattr(type(program.devices), 'of_first', of_first)
  support.train(support.run(tmp_path, program))
  assert len(asked) >= 3
  assert max(asked) <= program.steps_per_epoch


@pytest.mark.parametrize('looks', [0, 1, 2, 3])
def test_stopped_anywhere_and_resumed_ends_with_the_same_bits(
  program, whole, tmp_path, looks
):
  with pytest.raises(Interrupted):
    support.train(support.run(tmp_path, program), StopAfter(looks))
  assert not support.run(tmp_path, program).finished
  assert support.train(support.run(tmp_path, program)) == []
  assert support.run(tmp_path, program).finished
  _assert_same_end(program, whole, tmp_path)


@pytest.mark.slow
def test_stopped_again_and_again_ends_with_the_same_bits(
  program, whole, tmp_path
):
  stops = 0
  while not (made := support.run(tmp_path, program)).finished:
    try:
      support.train(made, StopAfter(0))
    except Interrupted:
      stops += 1
  # Each start dispatches once, so that this is a checkpoint after each step.
  assert stops == 9
  _assert_same_end(program, whole, tmp_path)


@pytest.mark.usefixtures('whole')
def test_a_run_that_is_finished_is_compiled_for_no_second_seed(
  program, tmp_path
):
  before = program.compilations()
  support.train(support.run(tmp_path, program, key=jax.random.key(1)))
  assert program.compilations() == before == 1


def test_a_torn_line_is_written_again(program, whole, tmp_path):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(path.read_bytes()[:-20])
  assert not support.run(tmp_path, program).finished
  support.train(support.run(tmp_path, program))
  _assert_same_end(program, whole, tmp_path)


@pytest.mark.parametrize('kept', ['nothing', 'a byte', 'half'])
def test_a_torn_checkpoint_is_set_aside_for_the_one_before(
  program, whole, tmp_path, kept
):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  _cut_end(tmp_path)
  newest = tmp_path / 'checkpoints' / 'latest' / '9'
  for file in newest.rglob('*'):
    if file.is_file():
      size = {'nothing': 0, 'a byte': 1, 'half': file.stat().st_size // 2}
      file.write_bytes(file.read_bytes()[: size[kept]])
  (warning,) = support.train(support.run(tmp_path, program))
  assert 'step 9 cannot be read' in warning
  assert (newest.parent / '9.broken').is_dir()
  assert '\n' not in warning
  _assert_same_end(program, whole, tmp_path)


def test_without_a_readable_checkpoint_it_begins_anew(program, whole, tmp_path):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  _cut_end(tmp_path)
  for file in (tmp_path / 'checkpoints' / 'latest').rglob('*'):
    if file.is_file():
      file.write_bytes(b'')
  assert len(support.train(support.run(tmp_path, program))) == 2
  _assert_same_end(program, whole, tmp_path)


@pytest.fixture(scope='module')
def observing():
  """A program whose method observes, beside one that does not."""
  return support.program(support.parts('kd+kd2m'))


@pytest.fixture(scope='module')
def observed(observing, tmp_path_factory):
  """The folder of its run."""
  made = support.run(tmp_path_factory.mktemp('observed'), observing)
  support.train(made)
  return made.folder


def test_a_method_observes_before_the_first_step_and_at_each_evaluation(
  observed,
):
  lines = _lines(observed)
  kinds = [line['kind'] for line in lines]
  assert kinds == ['bound', *(['train', 'eval', 'bound'] * 3), 'end']
  bounds = [line for line in lines if line['kind'] == 'bound']
  places = [(line['epoch'], line['step']) for line in bounds]
  assert places == [(0, 0), (1, 3), (2, 6), (3, 9)]
  for line in bounds:
    assert 0 <= line['risk_gap'] <= line['w2'] <= line['paired']
    assert np.isclose(
      line['risk_gap'] * line['lipschitz'],
      abs(line['risk_student'] - line['risk_teacher']),
      atol=1e-6,
    )


@pytest.mark.parametrize('checkpoint', ['newest', 'none'])
def test_what_was_observed_is_logged_once_by_a_run_that_goes_on(
  observing, observed, tmp_path, checkpoint
):
  shutil.copytree(observed, tmp_path, dirs_exist_ok=True)
  _cut_end(tmp_path)
  shutil.rmtree(tmp_path / 'checkpoints' / 'latest' / '9')
  if checkpoint == 'none':
    shutil.rmtree(tmp_path / 'checkpoints' / 'latest' / '6')
  assert support.train(support.run(tmp_path, observing)) == []
  _assert_same_end(observing, observed, tmp_path)


def _cut_end(folder):
  """Takes the last line away, as if the run had not come to it."""
  path = folder / 'metrics.jsonl'
  path.write_text(''.join(path.read_text().splitlines(True)[:-1]))


def test_a_checkpoint_of_another_network_is_refused_with_what_differs(
  whole, tmp_path
):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  _cut_end(tmp_path)
  wide = support.parts('kd', student=support.network(width=9))
  made = support.run(tmp_path, support.program(wide))
  with pytest.raises(ValueError, match='another network') as caught:
    support.train(made)
  message = str(caught.value)
  assert 'stored (16, 6), expected (16, 9)' in message
  assert (tmp_path / 'checkpoints' / 'latest' / '9').is_dir()


def test_another_configuration_is_refused_with_what_differs(program, whole):
  made = support.run(whole, program, about={'arm': 'kd', 'seed': 0})
  with pytest.raises(ValueError, match='another configuration') as caught:
    support.train(made)
  assert "arm: was 'student', now 'kd'" in str(caught.value)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_at_its_step(tmp_path):
  recipe = Recipe(
    epochs=4,
    batch_size=support.BATCH,
    learning_rate=1e-6,
    decay_at=(0.5,),
    decay_factor=1e36,
  )
  program = support.program(support.parts(recipe=recipe))
  made = support.run(tmp_path, program, recipe=recipe)
  # The rate is huge from epoch 2 on: step 6 breaks the weights, 7 finds out.
  with pytest.raises(DivergedError, match=r'not finite at step 7 \(epoch 2\)'):
    support.train(made)
  line = _lines(tmp_path)[-1]
  assert line == {'kind': 'diverged', 'epoch': 2, 'step': 7}
  saved = tmp_path / 'checkpoints' / 'latest'
  assert sorted(folder.name for folder in saved.iterdir()) == ['3', '6']
  # It is readable: a second attempt begins there, and ends the same way.
  with pytest.raises(DivergedError, match='step 7'):
    support.train(made)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cusp(Method):
  """A term whose value is finite, and whose slope at step 4 is not."""

  needs_teacher: ClassVar[bool] = False

  def terms(self, variables, student, teacher, batch, context):
    slope = jnp.where(context.step == 4, jnp.inf, 1.0)
    return {'cusp': _sloped(student.features.logits.mean(), slope)}, Updates()


@jax.custom_vjp
def _sloped(value, slope):
  return value


_sloped.defvjp(lambda v, slope: (v, slope), lambda slope, g: (g * slope, None))


@pytest.mark.slow
def test_a_gradient_that_is_not_finite_stops_at_its_step(tmp_path):
  program = support.program(support.parts(Cusp()))
  with pytest.raises(DivergedError, match=r'not finite at step 4 \(epoch 1\)'):
    support.train(support.run(tmp_path, program))


def test_the_best_and_the_two_latest_checkpoints_are_kept(whole):
  scores = [
    (line['accuracy'], -line['step'])
    for line in _lines(whole)
    if line['kind'] == 'eval'
  ]
  best = -max(scores)[1]
  folder = whole / 'checkpoints'
  assert [path.name for path in (folder / 'best').iterdir()] == [str(best)]
  assert {path.name for path in (folder / 'latest').iterdir()} == {'6', '9'}


def test_judges_given_weights_without_training(tmp_path):
  program = support.program(support.parts())
  variables = support.network().initialize(
    jax.random.key(5), support.IMAGE_SHAPE
  )
  made = support.run(tmp_path, program)
  made.judge(variables)
  assert [line['kind'] for line in _lines(tmp_path)] == ['eval', 'end']
  assert made.finished
  assert program.compilations() == 0
  made.judge(variables)
  assert len(_lines(tmp_path)) == 2
