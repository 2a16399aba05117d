import time

import pytest

from kdjax.train.speed import Speed, sentence


def _loop(waiting, working, steps=4):
  speed = Speed()
  with speed.running():
    for _ in range(steps):
      with speed.waiting():
        time.sleep(waiting)
      time.sleep(working)
  time.sleep(0.1)  # between epochs; not counted
  return speed


@pytest.mark.parametrize(
  ('waiting', 'working', 'binds'),
  [(0.02, 0.0, 'input'), (0.0, 0.02, 'step')],
)
def test_says_what_binds(waiting, working, binds):
  line = _loop(waiting, working).line(batch_size=8)
  assert line['binds'] == binds
  assert (line['waited_for_images'] > 0.5) == (binds == 'input')
  # 32 images in at least 0.08 seconds, and in less than with the pause.
  assert line['images_per_second'] <= 32 / 0.08
  said = sentence(line)
  assert said.startswith(f'The {binds} binds: ')
  assert ('--workers' in said) == (binds == 'input')


def test_says_nothing_of_no_steps():
  assert Speed().line(8) == {}


def test_forgets():
  speed = _loop(0.0, 0.0)
  speed.restart()
  assert speed.line(8) == {}
