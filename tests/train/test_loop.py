import dataclasses
import json
import shutil
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax.methods import Kd, Method, Updates
from kdjax.runtime import files
from kdjax.runtime.signals import Interrupted
from kdjax.train import DivergedError, Recipe
from tests.train import support


@pytest.fixture(scope='module')
def epochs():
  return support.epochs(support.parts('kd'))


@pytest.fixture(scope='module')
def trained(epochs, tmp_path_factory):
  """Uninterrupted run, and the names of the compiled functions."""
  compiled = []

  def note(event, seconds, *, fun_name='', **more):
    if event == '/jax/core/compile/backend_compile_duration':
      compiled.append(fun_name)

  made = support.run(tmp_path_factory.mktemp('whole'), epochs)
  jax.monitoring.register_event_duration_secs_listener(note)
  support.train(made)
  jax.monitoring.unregister_event_duration_listener(note)
  return made, compiled


@pytest.fixture(scope='module')
def whole(trained):
  """Folder of an uninterrupted run."""
  return trained[0].folder


def test_step_is_compiled_once_per_run(trained):
  _, compiled = trained
  assert sum('_steps' in name for name in compiled) == 1
  assert sum('_evaluate_batches' in name for name in compiled) == 1


def test_run_folder_has_log_and_config(whole):
  kinds = [line['kind'] for line in support.lines(whole)]
  assert kinds == ['train', 'eval'] * 3 + ['end']
  end = files.read_lines(whole / 'metrics.jsonl')[-1]
  assert end['compilations'] == 1
  assert end['step'] == 9
  assert end['correct'] == round(end['accuracy'] * support.TEST)
  assert end['parameters'] == 16 * 6 + 2 * 6 + 6 * 3 + 3
  config = json.loads((whole / 'config.json').read_text())
  assert config['network'] == 'dense'


def test_dispatch_size_is_at_most_one_epoch(epochs, tmp_path, monkeypatch):
  # Processes exchange it as an integer of 64 bits.
  asked = []

  def of_first(self, number):
    asked.append(number)
    return number

  monkeypatch.setattr(type(epochs.program.devices), 'of_first', of_first)
  support.train(support.run(tmp_path, epochs))
  assert len(asked) >= 3
  assert max(asked) <= epochs.steps_per_epoch


@pytest.mark.parametrize('looks', [0, 1, 2, 3])
def test_resumed_run_is_bit_identical(epochs, whole, tmp_path, looks):
  with pytest.raises(Interrupted):
    support.train(support.run(tmp_path, epochs), support.StopAfter(looks))
  assert not support.run(tmp_path, epochs).finished()
  assert support.train(support.run(tmp_path, epochs)) == []
  assert support.run(tmp_path, epochs).finished()
  support.same_end(epochs, whole, tmp_path)


@pytest.mark.slow
def test_run_stopped_at_every_step_is_bit_identical(epochs, whole, tmp_path):
  stops = 0
  while not (made := support.run(tmp_path, epochs)).finished():
    try:
      support.train(made, support.StopAfter(0))
    except Interrupted:
      stops += 1
  # Each attempt runs one dispatch of one step and saves a checkpoint.
  assert stops == 9
  support.same_end(epochs, whole, tmp_path)


@pytest.mark.usefixtures('whole')
def test_second_seed_reuses_the_compiled_program(epochs, tmp_path):
  before = epochs.compilations()
  support.train(support.run(tmp_path, epochs, key=jax.random.key(1)))
  assert epochs.compilations() == before == 1


def test_torn_last_line_is_written_again(epochs, whole, tmp_path):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(path.read_bytes()[:-20])
  assert not support.run(tmp_path, epochs).finished()
  support.train(support.run(tmp_path, epochs))
  support.same_end(epochs, whole, tmp_path)


@pytest.mark.parametrize('kept', ['nothing', 'a byte', 'half'])
def test_torn_checkpoint_is_renamed_and_previous_one_restored(
  epochs, whole, tmp_path, kept
):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  _cut_end(tmp_path)
  newest = tmp_path / 'checkpoints' / 'latest' / '9'
  for file in newest.rglob('*'):
    if file.is_file():
      size = {'nothing': 0, 'a byte': 1, 'half': file.stat().st_size // 2}
      file.write_bytes(file.read_bytes()[: size[kept]])
  (warning,) = support.train(support.run(tmp_path, epochs))
  assert 'step 9 cannot be read' in warning
  assert (newest.parent / '9.broken').is_dir()
  assert '\n' not in warning
  support.same_end(epochs, whole, tmp_path)


def test_run_without_readable_checkpoint_is_not_restarted(
  epochs, whole, tmp_path
):
  shutil.copytree(whole, tmp_path / 'run')
  _cut_end(tmp_path / 'run')
  log = (tmp_path / 'run' / 'metrics.jsonl').read_bytes()
  for file in (tmp_path / 'run' / 'checkpoints' / 'latest').rglob('*'):
    if file.is_file():
      file.write_bytes(b'')
  made = support.run(tmp_path / 'run', epochs)
  with pytest.raises(ValueError, match='There were checkpoints'):
    support.train(made)
  assert (tmp_path / 'run' / 'metrics.jsonl').read_bytes() == log
  shutil.rmtree(tmp_path / 'run')  # as the message says
  support.train(made)
  support.same_end(epochs, whole, tmp_path / 'run')


@pytest.mark.parametrize('lost', ['latest', 'checkpoints'])
def test_run_whose_checkpoints_were_deleted_is_not_restarted(
  epochs, whole, tmp_path, lost
):
  shutil.copytree(whole, tmp_path / 'run')
  _cut_end(tmp_path / 'run')
  folder = tmp_path / 'run' / 'checkpoints'
  if lost == 'latest':  # also where no epoch was logged
    shutil.rmtree(folder / 'latest')
    (tmp_path / 'run' / 'metrics.jsonl').unlink()
  else:
    shutil.rmtree(folder)
  with pytest.raises(ValueError, match=r'delete .* to train the run again'):
    support.train(support.run(tmp_path / 'run', epochs))


def test_lost_weights_of_an_ended_run_are_written_again(
  epochs, whole, tmp_path
):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  made = support.run(tmp_path, epochs)
  assert made.finished()
  shutil.rmtree(tmp_path / 'student')
  assert not made.finished()
  support.train(made)
  assert made.finished()
  support.same_end(epochs, whole, tmp_path)
  assert len(support.lines(tmp_path, 'end')) == 1


def test_run_folder_without_config_is_refused(epochs, whole, tmp_path):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  (tmp_path / 'config.json').unlink()
  with pytest.raises(ValueError, match='has no config'):
    support.train(support.run(tmp_path, epochs))


def test_torn_log_line_is_reported_and_best_score_is_kept(
  epochs, whole, tmp_path
):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  _cut_end(tmp_path)
  path = tmp_path / 'metrics.jsonl'
  lines = path.read_text().splitlines(True)
  scores = [json.loads(x).get('accuracy', 0) for x in lines]
  torn = scores.index(max(scores))  # the line with the best score
  lines[torn] = lines[torn][:20] + '\n'
  path.write_text(''.join(lines))
  said = support.train(support.run(tmp_path, epochs))
  assert f'unreadable lines are left out: {torn + 1}' in said[0]
  end = support.lines(tmp_path)[-1]
  assert end['best_accuracy'] == max(scores)


@pytest.fixture(scope='module')
def observing():
  """Epochs of two methods, one of which has observations."""
  return support.epochs(support.parts('kd+kd2m'))


@pytest.fixture(scope='module')
def observed(observing, tmp_path_factory):
  """Folder of a run with observations."""
  made = support.run(tmp_path_factory.mktemp('observed'), observing)
  support.train(made)
  return made.folder


def test_observations_are_logged_initially_and_at_evaluations(
  observed,
):
  lines = support.lines(observed)
  kinds = [line['kind'] for line in lines]
  assert kinds == ['bound', *(['train', 'eval', 'bound'] * 3), 'end']
  bounds = [line for line in lines if line['kind'] == 'bound']
  positions = [(line['epoch'], line['step']) for line in bounds]
  assert positions == [(0, 0), (1, 3), (2, 6), (3, 9)]
  for line in bounds:
    assert 0 <= line['risk_gap'] <= line['w2'] <= line['paired']
    assert np.isclose(
      line['risk_gap'] * line['lipschitz'],
      abs(line['risk_student'] - line['risk_teacher']),
      atol=1e-6,
    )


@pytest.mark.parametrize('checkpoint', ['newest', 'none'])
def test_resumed_run_logs_each_observation_once(
  observing, observed, tmp_path, checkpoint
):
  shutil.copytree(observed, tmp_path, dirs_exist_ok=True)
  _cut_end(tmp_path)
  shutil.rmtree(tmp_path / 'checkpoints' / 'latest' / '9')
  said = []
  if checkpoint == 'none':  # killed before the first one was complete
    shutil.rmtree(tmp_path / 'checkpoints' / 'latest' / '6')
    (tmp_path / 'checkpoints' / 'saved.json').unlink()
    path = tmp_path / 'metrics.jsonl'
    lines = path.read_text().splitlines(True)
    early = [line for line in lines if json.loads(line)['epoch'] <= 1]
    path.write_text(''.join(early))
    said = [f'{tmp_path} has no checkpoint yet and starts again.']
  assert support.train(support.run(tmp_path, observing)) == said
  support.same_end(observing, observed, tmp_path)


def _cut_end(folder):
  """Removes the last log line, as if the run had been interrupted."""
  path = folder / 'metrics.jsonl'
  path.write_text(''.join(path.read_text().splitlines(True)[:-1]))


def test_checkpoint_of_another_network_lists_the_differences(whole, tmp_path):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  _cut_end(tmp_path)
  wide = support.parts('kd', student=support.network(width=9))
  made = support.run(tmp_path, support.epochs(wide))
  with pytest.raises(ValueError, match='another network') as caught:
    support.train(made)
  message = str(caught.value)
  assert 'stored (16, 6), expected (16, 9)' in message
  assert (tmp_path / 'checkpoints' / 'latest' / '9').is_dir()


def test_another_configuration_lists_the_differences(epochs, whole):
  made = support.run(whole, epochs, about={'arm': 'kd', 'seed': 0})
  with pytest.raises(ValueError, match='another configuration') as caught:
    support.train(made)
  assert "arm: was 'student', now 'kd'" in str(caught.value)


@pytest.mark.slow
def test_non_finite_loss_stops_the_run_at_its_step(tmp_path):
  recipe = Recipe(
    epochs=4,
    batch_size=support.BATCH,
    learning_rate=1e-6,
    decay_at=(0.5,),
    decay_factor=1e36,
  )
  epochs = support.epochs(support.parts(recipe=recipe))
  made = support.run(tmp_path, epochs, recipe=recipe)
  # The rate is huge from epoch 2: step 6 breaks the weights, 7 detects it.
  with pytest.raises(DivergedError, match=r'not finite at step 7 \(epoch 2\)'):
    support.train(made)
  line = support.lines(tmp_path)[-1]
  assert line == {'kind': 'diverged', 'epoch': 2, 'step': 7}
  saved = tmp_path / 'checkpoints' / 'latest'
  assert sorted(folder.name for folder in saved.iterdir()) == ['3', '6']
  # It is readable: a second attempt resumes there and fails again.
  with pytest.raises(DivergedError, match='step 7'):
    support.train(made)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cusp(Method):
  """A term with a finite value and an infinite gradient at step 4."""

  needs_teacher: ClassVar[bool] = False

  def terms(self, variables, student, teacher, batch, context):
    slope = jnp.where(context.step == 4, jnp.inf, 1.0)
    return {
      'cusp': _with_gradient_factor(student.features.logits.mean(), slope)
    }, Updates()


@jax.custom_vjp
def _with_gradient_factor(value, slope):
  return value


_with_gradient_factor.defvjp(
  lambda v, slope: (v, slope), lambda slope, g: (g * slope, None)
)


@pytest.mark.slow
def test_non_finite_gradient_stops_the_run_at_its_step(tmp_path):
  epochs = support.epochs(support.parts(Cusp()))
  with pytest.raises(DivergedError, match=r'not finite at step 4 \(epoch 1\)'):
    support.train(support.run(tmp_path, epochs))


def test_best_and_two_latest_checkpoints_are_kept(whole):
  scores = [
    (line['accuracy'], -line['step'])
    for line in support.lines(whole)
    if line['kind'] == 'eval'
  ]
  best = -max(scores)[1]
  folder = whole / 'checkpoints'
  assert [path.name for path in (folder / 'best').iterdir()] == [str(best)]
  assert {path.name for path in (folder / 'latest').iterdir()} == {'6', '9'}


def test_learning_rate_of_each_epoch_is_logged(tmp_path):
  recipe = Recipe(epochs=3, batch_size=support.BATCH, decay_at=(1 / 3,))
  epochs = support.epochs(support.parts(recipe=recipe))
  support.train(support.run(tmp_path, epochs, recipe=recipe))
  rates = [line['learning_rate'] for line in support.lines(tmp_path, 'train')]
  np.testing.assert_allclose(rates, [0.05, 0.005, 0.005], rtol=1e-6)


def test_custom_optimizer_trains_a_run(tmp_path):
  parts = dataclasses.replace(support.parts(), optimizer=optax.adam(1e-3))
  support.train(support.run(tmp_path, support.epochs(parts)))
  assert [line['kind'] for line in support.lines(tmp_path)][-1] == 'end'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared(Kd):
  """Reads the teacher's embeddings twice and records each batch."""

  def init(self, key, student, teacher, data):
    del key, data
    width = teacher.features.embedding.shape[-1]
    return {
      'params': {'scale': jnp.ones(width)},
      'state': {'mean': jnp.zeros(width)},
    }

  def prepare(self, variables, walk, classifier, key):
    for _ in range(2):
      rows = []
      for batch in walk(lambda features, batch: features.embedding):
        _seen.append(batch)
        rows.append(batch)
    mean = jnp.asarray(np.concatenate(rows).mean(0))
    return {'params': {'scale': 1 + mean}, 'state': {'mean': mean}}

  def terms(self, variables, student, teacher, batch, context):
    terms, updates = super().terms(variables, student, teacher, batch, context)
    rows = student.features.embedding * variables['params']['scale']
    error = jnp.square(rows - variables['state']['mean']).mean()
    return {**terms, 'mean': error}, updates


_seen = []


@pytest.fixture(scope='module')
def preparing():
  return support.epochs(support.parts(Prepared()))


@pytest.fixture(scope='module')
def prepared(preparing, tmp_path_factory):
  """Folder of an uninterrupted run whose method was prepared."""
  made = support.run(tmp_path_factory.mktemp('prepared'), preparing)
  support.train(made)
  return made.folder


@pytest.fixture
def seen():
  """The batches that the preparation has read."""
  _seen.clear()
  return _seen


def test_method_is_prepared_once_and_not_on_resumption(
  preparing, prepared, seen, tmp_path
):
  made = support.run(tmp_path, preparing)
  support.stop_after_epoch(made, 1)
  assert len(seen) == 2 * preparing.steps_per_epoch
  support.train(made)
  assert len(seen) == 2 * preparing.steps_per_epoch
  support.same_end(preparing, tmp_path, prepared)


def test_stop_request_interrupts_the_preparation_within_one_batch(
  preparing, prepared, seen, tmp_path
):
  made = support.run(tmp_path, preparing)
  for batches in (0, 1, 4):
    seen.clear()
    with pytest.raises(Interrupted):
      support.train(made, support.StopAfter(batches))
    assert len(seen) == batches
  assert support.train(made) == []
  support.same_end(preparing, tmp_path, prepared)
