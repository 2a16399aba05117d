import json

import numpy as np
from PIL import Image

from benchmarks import input as input_benchmark


def test_folder_without_images_gives_an_error(tmp_path, capsys):
  assert input_benchmark.main([f'--folder={tmp_path}']) == 2
  message = capsys.readouterr().out
  assert str(tmp_path) in message
  assert '--folder=' in message


def test_views_and_streams_are_measured(tmp_path):
  for number in range(3):
    pixels = np.full((20, 30, 3), number, np.uint8)
    Image.fromarray(pixels).save(tmp_path / f'{number}.jpg')
  folders = [f'--folder={tmp_path}', f'--output={tmp_path}']
  flags = '--workers=0 --threads=1,2 --batch_size=2 --batches=1 --repeats=2'
  assert input_benchmark.main([*folders, *flags.split()]) == 0
  rows = json.loads((tmp_path / 'input.json').read_text())['rows']
  assert rows[0]['mean_pixels'] == 600
  views = [row['view'] for row in rows if row['what'] == 'decode']
  assert views == list(input_benchmark.VIEWS)
  streams = [row for row in rows if row['what'] == 'stream']
  assert [row['threads'] for row in streams] == [1, 2]
  for row in rows[1:]:
    for rate in ('images_per_second', 'images_per_second_of_one_core'):
      assert 0 < row[rate]['min'] <= row[rate]['max']
