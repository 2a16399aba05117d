"""Runs that are killed, stopped or out of disk space, and then resumed."""

import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.experiments import commands
from tests.train import support

pytestmark = pytest.mark.slow
FLAGS = (*commands.SMALL, '--epochs=40', '--seeds=0,1')


@pytest.fixture(autouse=True)
def _hangups():
  """Processes inherit that the signal is ignored, as without a terminal."""
  before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
  yield
  signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """Folder with a dataset and the compiled programs of all commands."""
  folder = tmp_path_factory.mktemp('place')
  commands.write_npz(folder)
  return folder


@pytest.fixture(scope='module')
def whole(place):
  """Work folder of an uninterrupted command."""
  flags = (*FLAGS, f'--dataset=npz:{place / "toy.npz"}')
  commands.run('cifar', *flags, f'--workdir={place / "whole"}', cache=place)
  return place / 'whole'


def _start(place, tmp_path, *flags, **more):
  """Starts the command of `whole` with its own teacher cache."""
  return commands.start(
    'cifar',
    *FLAGS,
    f'--dataset=npz:{place / "toy.npz"}',
    *flags,
    cache=place,
    environment={'KDJAX_CACHE': str(tmp_path / 'teachers')},
    **more,
  )


@pytest.mark.long
def test_run_killed_five_times_ends_with_identical_bits(place, whole, tmp_path):
  draw = random.Random(0)
  # By how far it has come rather than by the clock of a busy machine.
  for share in sorted(draw.uniform(0, 0.95) for _ in range(5)):
    process = _start(place, tmp_path, f'--workdir={tmp_path}/w', '--resume')
    commands.wait_for(process, 'starts')
    while _logged(tmp_path / 'w') < share * _logged(whole):
      assert process.poll() is None
      time.sleep(0.01)
    time.sleep(draw.uniform(0, 0.2))  # not always after the same thing
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL  # it was not at its end
  process = _start(place, tmp_path, f'--workdir={tmp_path}/w', '--resume')
  _, said = process.communicate(timeout=300)
  assert process.returncode == 0, said
  commands.same_result(whole, tmp_path / 'w')


def _logged(workdir):
  """Returns the number of lines logged by the runs of a work folder."""
  return sum(
    path.read_bytes().count(b'\n')
    for path in workdir.glob('runs/*/*/metrics.jsonl')
  )


@pytest.mark.parametrize(
  ('named', 'number'),
  [
    (False, signal.SIGTERM),
    (True, signal.SIGINT),
    (True, signal.SIGHUP),
  ],
)
def test_signal_saves_and_prints_the_resume_command(
  place, whole, tmp_path, named, number
):
  flags = ['--workdir', 'some where'] if named else []
  process = _start(place, tmp_path, *flags, cwd=tmp_path)
  said = commands.wait_for(process, 'kd (convnet_4_8), seed 0: starts')
  process.send_signal(number)
  said += process.communicate(timeout=60)[1]
  assert process.returncode == 128 + number, said
  assert 'Traceback' not in said
  assert 'Stopped and saved. To resume:' in said
  command = shlex.split(said.strip().splitlines()[-1])
  assert command[0] == 'python'
  done = subprocess.run(
    [sys.executable, *command[1:]],
    cwd=tmp_path,
    env=commands.environment(place, KDJAX_CACHE=str(tmp_path / 'teachers')),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  (workdir,) = tmp_path.glob('some where' if named else 'runs/cifar-kd-*')
  commands.same_result(whole, workdir)


def test_torn_checkpoint_and_torn_log_line_are_skipped(place, whole, tmp_path):
  run = tmp_path / 'w' / 'runs' / 'student' / 'seed0'
  process = _start(place, tmp_path, f'--workdir={tmp_path}/w')
  commands.wait_for(process, 'student (convnet_4_8), seed 0: starts')
  latest = run / 'checkpoints' / 'latest'
  while len([path for path in latest.glob('*') if path.name.isdigit()]) < 2:
    assert process.poll() is None
    time.sleep(0.05)
  process.terminate()
  process.communicate(timeout=60)
  newest = max(latest.iterdir(), key=lambda path: int(path.name))
  for file in newest.rglob('*'):
    if file.is_file():
      file.write_bytes(file.read_bytes()[:9])
  with (run / 'metrics.jsonl').open('a') as metrics:
    metrics.write('{"kind": "train", "epo')
  process = _start(place, tmp_path, f'--workdir={tmp_path}/w', '--resume')
  _, said = process.communicate(timeout=300)
  assert process.returncode == 0, said
  assert f'The checkpoint of step {newest.name} cannot be read' in said
  assert (newest.parent / f'{newest.name}.broken').is_dir()
  commands.same_result(whole, tmp_path / 'w')


@pytest.mark.long
def test_concurrent_commands_train_the_same_teacher(place, whole, tmp_path):
  pair = [
    _start(place, tmp_path, f'--workdir={tmp_path}/w{i}') for i in range(2)
  ]
  for process in pair:
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert 'cannot be kept' not in said
  (kept,) = (tmp_path / 'teachers' / 'teachers').iterdir()
  support.identical(
    commands.student(kept),
    commands.student(whole / 'runs' / 'teacher' / 'seed0'),
  )
  for run in ('student/seed0', 'kd/seed1'):
    commands.same_result_of(whole, tmp_path / 'w0', run)
    commands.same_result_of(whole, tmp_path / 'w1', run)


_FULL_DISK = """
mount -t tmpfs -o size=280k none disk
"$@"; echo "status $?" >&2
mount -o remount,size=20m none disk
"$@" --resume 2>again; echo "status $?" >&2
cp -r disk/w w
"""


@pytest.mark.long
def test_small_disk_gives_one_error_line_and_loses_nothing(
  place, whole, tmp_path
):
  unshare = shutil.which('unshare')
  in_a_space = [unshare, '--map-root-user', '--mount']
  if unshare is None or subprocess.run([*in_a_space, 'true']).returncode:
    pytest.skip('a small disk cannot be made here')
  (tmp_path / 'disk').mkdir()
  command = [sys.executable, '-m', 'experiments.cifar', *FLAGS]
  command += [f'--dataset=npz:{place / "toy.npz"}', '--workdir=disk/w']
  done = subprocess.run(
    [*in_a_space, 'bash', '-c', _FULL_DISK, 'bash', *command],
    cwd=tmp_path,
    env=commands.environment(place, KDJAX_CACHE=str(tmp_path / 'teachers')),
    capture_output=True,
    text=True,
    check=True,
  )
  said = done.stderr.splitlines()
  assert said[-2:] == ['status 1', 'status 0'], done.stderr
  (error,) = [line for line in said if line.startswith('error: ')]
  assert 'No space left' in error or 'cannot be written' in error
  assert error.endswith('What was saved before is kept.')
  assert 'Traceback' not in done.stderr
  assert 'cannot be read' not in (tmp_path / 'again').read_text()
  commands.same_result(whole, tmp_path / 'w')


def test_file_size_limit_gives_one_error_line_and_loses_nothing(
  place, whole, tmp_path
):
  process = _start(place, tmp_path, f'--workdir={tmp_path}/w')
  commands.wait_for(process, 'student (convnet_4_8), seed 0: starts')
  process.terminate()
  process.communicate(timeout=60)
  process = _start(place, tmp_path, f'--workdir={tmp_path}/w', '--resume')
  small = 20_000  # bytes a file may have; a checkpoint needs more
  resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (small, small))
  _, said = process.communicate(timeout=60)
  assert process.returncode == 1, said
  assert 'Traceback' not in said
  error = said.strip().splitlines()[-1]
  assert error.startswith('error: [Errno 27] File too large'), said
  assert 'What was saved before is kept.' in error
  process = _start(place, tmp_path, f'--workdir={tmp_path}/w', '--resume')
  _, said = process.communicate(timeout=120)
  assert process.returncode == 0, said
  assert 'cannot be read' not in said
  commands.same_result(whole, tmp_path / 'w')
