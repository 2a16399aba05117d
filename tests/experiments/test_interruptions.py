"""Runs that are killed, stopped or out of room, and go on."""

import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.experiments import commands

pytestmark = pytest.mark.slow
FLAGS = (*commands.SMALL, '--epochs=40', '--seeds=0,1')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A set, and the executables that the first command here compiles."""
  folder = tmp_path_factory.mktemp('place')
  commands.write_npz(folder)
  return folder


@pytest.fixture(scope='module')
def whole(place):
  """The work folder of a command that was never stopped, and its seconds."""
  flags = (*FLAGS, f'--dataset=npz:{place / "toy.npz"}')
  process = commands.start(
    'cifar', *flags, f'--workdir={place / "whole"}', cache=place
  )
  commands.wait_for(process, 'starts')
  began = time.monotonic()
  _, said = process.communicate(timeout=300)
  assert process.returncode == 0, said
  return place / 'whole', time.monotonic() - began


def _start(place, tmp_path, *flags, **more):
  """The command of `whole`, with a cache of teachers of its own."""
  return commands.start(
    'cifar',
    *FLAGS,
    f'--dataset=npz:{place / "toy.npz"}',
    *flags,
    cache=place,
    environment={'KDJAX_CACHE': str(tmp_path / 'teachers')},
    **more,
  )


def test_killed_five_times_at_random_it_ends_with_the_same_bits(
  place, whole, tmp_path
):
  workdir, seconds = whole
  moments = random.Random(0)
  for _ in range(5):
    process = _start(place, tmp_path, f'--workdir={tmp_path}/w', '--resume')
    commands.wait_for(process, 'starts')
    time.sleep(moments.uniform(0, seconds / 6))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL  # it was not at its end
  process = _start(place, tmp_path, f'--workdir={tmp_path}/w', '--resume')
  _, said = process.communicate(timeout=300)
  assert process.returncode == 0, said
  commands.same_result(workdir, tmp_path / 'w')


@pytest.mark.parametrize('named', [False, True])
def test_sigterm_saves_and_says_how_to_go_on(place, whole, tmp_path, named):
  flags = ['--workdir', 'some where'] if named else []
  process = _start(place, tmp_path, *flags, cwd=tmp_path)
  said = commands.wait_for(process, 'kd (convnet_4_8), seed 0: starts')
  process.terminate()
  said += process.communicate(timeout=60)[1]
  assert process.returncode == 128 + signal.SIGTERM, said
  assert 'Traceback' not in said
  assert 'Stopped and saved. To go on:' in said
  command = shlex.split(said.strip().splitlines()[-1])
  assert command[0] == 'python'
  done = subprocess.run(
    [sys.executable, *command[1:]],
    cwd=tmp_path,
    env={
      **os.environ,
      'KDJAX_CACHE': str(tmp_path / 'teachers'),
      'JAX_COMPILATION_CACHE_DIR': str(place / 'compiled'),
      'PYTHONPATH': str(commands.REPOSITORY),
      'XLA_FLAGS': '',
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  (workdir,) = tmp_path.glob('some where' if named else 'runs/cifar-kd-*')
  commands.same_result(whole[0], workdir)


def test_a_full_disk_is_one_line_and_loses_nothing(place, whole, tmp_path):
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
  commands.same_result(whole[0], tmp_path / 'w')
