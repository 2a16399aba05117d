import time

import pytest

from kdjax.train.input_statistics import InputStatistics, sentence


def _loop(waiting, working, steps=4):
  statistics = InputStatistics()
  with statistics.running():
    for _ in range(steps):
      with statistics.waiting():
        time.sleep(waiting)
      time.sleep(working)
  time.sleep(0.1)  # between epochs; not counted
  return statistics


@pytest.mark.parametrize(
  ('waiting', 'working', 'binds'),
  [(0.02, 0.0, 'input'), (0.0, 0.02, 'step')],
)
def test_bottleneck_is_detected(waiting, working, binds):
  line = _loop(waiting, working).summary(batch_size=8)
  assert line['binds'] == binds
  assert (line['waited_for_images'] > 0.5) == (binds == 'input')
  # 32 images in at least 0.08 seconds, and in less than with the pause.
  assert line['images_per_second'] <= 32 / 0.08
  said = sentence(line)
  assert said.startswith(f'The {binds} is the bottleneck: ')
  assert ('--workers' in said) == (binds == 'input')


def test_summary_without_steps_is_empty():
  assert InputStatistics().summary(8) == {}


def test_reset_clears_the_measurements():
  statistics = _loop(0.0, 0.0)
  statistics.reset()
  assert statistics.summary(8) == {}
