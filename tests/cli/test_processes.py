"""Two processes train one comparison and communicate through gloo."""

import pathlib
import signal
import socket

import pytest

from tests.experiments import commands
from tests.train import support

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  folder = tmp_path_factory.mktemp('processes')
  commands.write_npz(folder)
  return folder


def _pair(
  place: pathlib.Path, folder: pathlib.Path, *flags: str, shared: bool = False
):
  """Starts two processes of two devices each, with shared or own folders."""
  disks = (0, 0) if shared else (0, 1)
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  return [
    commands.start(
      'cifar',
      *commands.SMALL,
      '--method=kd+icd',
      f'--dataset=npz:{place / "toy.npz"}',
      f'--workdir={folder / f"w{disks[process]}"}',
      f'--coordinator=localhost:{port}',
      '--num_processes=2',
      f'--process_id={process}',
      *flags,
      cache=folder / f'cache{disks[process]}',
      environment={
        'JAX_COMPILATION_CACHE_DIR': '',
        'XLA_FLAGS': '--xla_force_host_platform_device_count=2',
      },
    )
    for process in (0, 1)
  ]


def _ends(pair):
  """Returns exit status and messages of each process."""
  said = [process.communicate(timeout=600)[1] for process in pair]
  return [process.returncode for process in pair], said


def _assert_close(one: pathlib.Path, other: pathlib.Path) -> None:
  for run in ('teacher/seed0', 'student/seed0', 'kd+icd/seed0'):
    a, b = one / 'runs' / run, other / 'runs' / run
    support.close(commands.student(a), commands.student(b), 1e-5)
    kinds = [[line['kind'] for line in commands.lines(r)] for r in (a, b)]
    assert kinds[0] == kinds[1]


@pytest.fixture(scope='module')
def alone(place):
  """Work folder of one process with one device."""
  commands.run(
    'cifar',
    *commands.SMALL,
    '--method=kd+icd',
    f'--dataset=npz:{place / "toy.npz"}',
    f'--workdir={place / "alone"}',
    cache=place,
  )
  return place / 'alone'


def test_two_processes_match_one_and_only_the_first_writes(
  place, alone, tmp_path
):
  codes, said = _ends(_pair(place, tmp_path))
  assert codes == [0, 0], said
  _assert_close(alone, tmp_path / 'w0')
  assert not (tmp_path / 'w1').exists()
  written = (tmp_path / 'cache1').rglob('*')
  assert not [path for path in written if path.is_file()]
  assert 'starts' not in said[1]  # and only the first reports


@pytest.mark.long
def test_signal_to_one_process_stops_both_and_they_resume(
  place, alone, tmp_path
):
  pair = _pair(place, tmp_path, shared=True)
  commands.wait_for(pair[0], 'student (convnet_4_8), seed 0: starts')
  pair[1].terminate()
  codes, said = _ends(pair)
  assert codes == [128 + signal.SIGTERM] * 2, said
  assert 'To resume:' in said[0]
  codes, said = _ends(_pair(place, tmp_path, '--resume', shared=True))
  assert codes == [0, 0], said
  _assert_close(alone, tmp_path / 'w0')


def _kill(pair, victim):
  """Kills one process of a pair and checks the error of the other."""
  commands.wait_for(pair[0], 'student (convnet_4_8), seed 0: starts')
  pair[victim].kill()
  _, said = pair[1 - victim].communicate(timeout=60)
  pair[victim].communicate()
  assert pair[1 - victim].returncode == 1, said
  last = said.strip().splitlines()[-1]
  assert 'error: another process of this run has ended' in last
  assert 'with --resume' in last


@pytest.mark.long
def test_first_process_reports_a_killed_process(place, tmp_path):
  _kill(_pair(place, tmp_path, shared=True), victim=1)


@pytest.mark.long
def test_run_resumes_on_fewer_devices_after_a_kill(place, alone, tmp_path):
  _kill(_pair(place, tmp_path, shared=True), victim=0)
  runs = tmp_path / 'w0' / 'runs'
  teacher = commands.lines(runs / 'teacher' / 'seed0')
  assert teacher[-1]['kind'] == 'end'
  # One process and one device of the four that there were.
  commands.run(
    'cifar',
    *commands.SMALL,
    '--method=kd+icd',
    f'--dataset=npz:{place / "toy.npz"}',
    f'--workdir={tmp_path / "w0"}',
    '--resume',
    cache=place,
    environment={'KDJAX_CACHE': str(tmp_path / 'teachers')},
  )
  assert commands.lines(runs / 'teacher' / 'seed0') == teacher
  _assert_close(alone, tmp_path / 'w0')


def test_error_in_the_first_process_ends_the_second(place, tmp_path):
  (tmp_path / 'w0').write_text('')  # in the way of the work folder
  codes, said = _ends(_pair(place, tmp_path))
  assert codes[0] == 2
  assert 'cannot be written to' in said[0]
  assert codes[1] != 0


def test_missing_process_flags_give_an_error(place, tmp_path):
  process = commands.start('cifar', '--coordinator=localhost:1', cache=tmp_path)
  _, said = process.communicate(timeout=60)
  assert process.returncode == 2
  assert 'needs --num_processes and --process_id too' in said
  assert 'Traceback' not in said
