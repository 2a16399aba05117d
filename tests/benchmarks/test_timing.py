import json
import re
import subprocess

import jax.numpy as jnp
import pytest

from benchmarks import timing


def test_calls_alternate_after_a_warm_up_round(monkeypatch):
  clock, order = [0.0], []
  monkeypatch.setattr(timing.time, 'perf_counter', lambda: clock[0])
  monkeypatch.setattr(timing.time, 'sleep', lambda seconds: None)

  def call(name, seconds):
    def run():
      order.append(name)
      # The first round takes longer, as it compiles.
      clock[0] += seconds if len(order) > 2 else 100

    return run

  calls = {'short': call('short', 1), 'long': call('long', 2)}
  seconds = timing.take_turns(calls, repeats=2)
  assert order == ['short', 'long'] * 3
  assert seconds['short'] == {'median': 1, 'min': 1, 'max': 1}
  assert timing.ratio(seconds, 'long', 'short') == 2
  assert timing.per_step(seconds, 4)['long']['max'] == 0.5


def test_median_and_range_have_four_digits():
  ranges = timing.median_and_range([3.0, 1.23456, 2.0])
  assert ranges == {'median': 2.0, 'min': 1.235, 'max': 3.0}


def test_chained_call_applies_the_function_to_its_result():
  values = []

  def double(value):
    values.append(value)  # once: it is compiled
    return 2 * value

  timing.chained(double, jnp.ones(()), 3)()
  assert len(values) == 1
  assert timing.compiled(double, jnp.ones(()))() == 2


def test_record_has_machine_versions_and_commit(tmp_path, capsys):
  path = tmp_path / 'benchmark.json'
  timing.record(path, [{'what': 'rows', 'ratio': 1.5}])
  content = json.loads(path.read_text())
  assert content['rows'] == [{'what': 'rows', 'ratio': 1.5}]
  assert content['machine']['cores'] >= 1
  assert content['versions']['jax']
  assert re.fullmatch('unknown|[0-9a-f]{40}(-dirty)?', content['commit'])
  assert 'ratio 1.5' in capsys.readouterr().out


def _git(folder, *arguments):
  identity = ['-c', 'user.name=name', '-c', 'user.email=name@example.org']
  subprocess.run(['git', *identity, *arguments], cwd=folder, check=True)


def test_commit_is_dirty_after_code_changes_only(tmp_path, monkeypatch):
  results = tmp_path / 'benchmarks' / 'results'
  results.mkdir(parents=True)
  monkeypatch.setattr(timing, 'FOLDER', results)
  assert timing.commit() == 'unknown'
  for file in (tmp_path / 'code.py', results / 'rows.json'):
    file.write_text('first')
  _git(tmp_path, 'init', '--quiet')
  _git(tmp_path, 'add', '.')
  _git(tmp_path, 'commit', '--quiet', '--message=first')
  (results / 'rows.json').write_text('second')
  commit = timing.commit()
  assert re.fullmatch('[0-9a-f]{40}', commit)
  (tmp_path / 'code.py').write_text('second')
  assert timing.commit() == f'{commit}-dirty'


def test_exception_of_a_call_is_raised():
  def fail():
    raise ValueError('not finite')

  with pytest.raises(ValueError, match='not finite'):
    timing.take_turns({'fail': fail}, repeats=1)
