import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments import imagenet
from kdjax.runtime import files

pytestmark = pytest.mark.usefixtures('compiled_once')

NETWORKS = '--teacher=convnet_8_16 --student=convnet_4_8 --image_size=8'
FLAGS = f'--method=kd {NETWORKS} --batch_size=5 --epochs=2 --threads=1'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  made = tmp_path_factory.mktemp('classes')
  random = np.random.default_rng(0)
  for split, count in (('train', 14), ('val', 6)):
    for number in range(count):
      pixels = random.integers(0, 256, (12, 16, 3)).astype(np.uint8)
      path = made / split / f'class{number % 7 % 2}' / f'{number:02}.JPEG'
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(pixels).save(path)
  return made


def _main(folder, workdir, *more, flags=FLAGS):
  return imagenet.COMMAND.main(
    [f'--dataset=folder:{folder}', f'--workdir={workdir}', *flags.split()]
    + list(more)
  )


def _lines(workdir, arm='kd'):
  return files.read_lines(workdir / f'runs/{arm}/seed0/metrics.jsonl')


@pytest.mark.slow
def test_folder_of_classes_trains_evaluates_and_resumes(
  folder, tmp_path, capsys
):
  assert _main(folder, tmp_path / 'work') == 0
  said = capsys.readouterr()
  assert ' is the bottleneck: the loop waited for images ' in said.err
  lines = _lines(tmp_path / 'work')
  speeds = [line for line in lines if line['kind'] == 'speed']
  # The first epoch's speed excludes the step that compiles.
  assert [line['epoch'] for line in speeds] == [1, 2]
  for line in speeds:
    assert line['binds'] in ('input', 'step')
    assert line['images_per_second'] > 0
  for line in lines:
    if line['kind'] == 'eval':
      assert line['top5'] == 1  # there are two classes
      assert 0 <= line['accuracy'] <= 1
  trained = [line for line in lines if line['kind'] == 'train']
  assert trained[-1]['images_read'] == 2 * 2 * 5
  assert trained[-1]['train_top5'] == 1
  # The number of threads may change when a command is resumed.
  assert _main(folder, tmp_path / 'work', '--resume', '--threads=3') == 0
  assert _main(folder, tmp_path / 'work', '--resume', '--image_size=9') == 2


@pytest.mark.slow
def test_broken_image_stops_the_command_or_is_skipped(folder, tmp_path, capsys):
  mine = shutil.copytree(folder, tmp_path / 'set')
  (mine / 'train/class0/00.JPEG').write_bytes(b'no image')
  flags = FLAGS.replace('--method=kd', '--method=none')
  assert _main(mine, tmp_path / 'stops', flags=flags) == 2
  assert '00.JPEG' in capsys.readouterr().err
  more = '--broken_images=skip'
  assert _main(mine, tmp_path / 'skips', more, flags=flags) == 0
  trained = [
    line
    for line in _lines(tmp_path / 'skips', 'student')
    if line['kind'] == 'train'
  ]
  read, skipped = (trained[-1][f'images_{n}'] for n in ('read', 'skipped'))
  assert (read - skipped, skipped > 0) == (20, True)


@pytest.mark.slow
def test_synthetic_images_time_the_steps_without_training(tmp_path, capsys):
  flags = f'--method=kd {NETWORKS} --batch_size=5 --timed_steps=5'
  flags += f' --data=synthetic --fold_teacher=always --workdir={tmp_path}'
  assert imagenet.COMMAND.main(flags.split()) == 0
  rows = json.loads((tmp_path / 'timing.json').read_text())['rows']
  assert [row['arm'] for row in rows] == ['student', 'kd']
  for row in rows:
    seconds = row['seconds_per_step']
    assert 0 < seconds['min'] <= seconds['median'] <= seconds['max']
    rate = row['batch_size'] / seconds['median']
    np.testing.assert_allclose(row['images_per_second'], rate, rtol=1e-3)
  said = capsys.readouterr().err
  assert 'kd: ' in said
  assert 'Loading' not in said
  assert not (tmp_path / 'runs').exists()


def test_wrong_path_gives_one_error_line(tmp_path, capsys):
  assert _main(tmp_path / 'nowhere', tmp_path / 'work') == 2
  said = capsys.readouterr().err
  assert 'error: ' in said
  assert 'nowhere/train. Expected train/CLASS/' in said
  assert 'Traceback' not in said


def test_number_of_timed_steps_must_be_positive():
  with pytest.raises(ValueError, match='timed_steps must be positive'):
    imagenet.Config(timed_steps=0)
