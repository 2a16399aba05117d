import json

import numpy as np
from PIL import Image

from benchmarks import _record
from benchmarks import input as input_benchmark


def test_without_images_says_where_it_looked(tmp_path, capsys):
  assert input_benchmark.main([f'--folder={tmp_path}']) == 2
  said = capsys.readouterr().out
  assert str(tmp_path) in said
  assert '--folder=' in said


def test_measures_views_and_streams(tmp_path, monkeypatch):
  monkeypatch.setattr(_record, 'FOLDER', tmp_path)
  for number in range(3):
    pixels = np.full((20, 30, 3), number, np.uint8)
    Image.fromarray(pixels).save(tmp_path / f'{number}.jpg')
  flags = '--workers=0 --threads=1,2 --batch_size=2 --batches=1 --repeats=2'
  found = input_benchmark.main([f'--folder={tmp_path}', *flags.split()])
  assert found == 0
  rows = json.loads((tmp_path / 'input.json').read_text())['rows']
  assert rows[0]['mean_pixels'] == 600
  views = [row['view'] for row in rows if row['what'] == 'decode']
  assert views == list(input_benchmark.VIEWS)
  streams = [row for row in rows if row['what'] == 'stream']
  assert [row['threads'] for row in streams] == [1, 2]
  for row in rows[1:]:
    for rate in ('images_per_second', 'images_per_second_of_one_core'):
      assert 0 < row[rate]['min'] <= row[rate]['max']
