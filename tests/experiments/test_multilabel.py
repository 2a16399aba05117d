import numpy as np
import pytest

from experiments import multilabel
from kdjax.cli import defaults
from kdjax.methods import Kd, Lshfm
from kdjax.runtime import files
from tests.data import streams


@pytest.mark.slow
def test_two_stage_recipe_trains_and_evaluates(tmp_path, monkeypatch):
  monkeypatch.setenv('KDJAX_CACHE', str(tmp_path / 'cache'))
  labels = np.arange(1, 13)[:, None] >> np.arange(3) & 1
  labels[3] = 0
  streams.write_coco(tmp_path, 'train', labels)
  streams.write_coco(tmp_path, 'val', labels[:6])
  (tmp_path / 'train0.png').write_bytes(b'no image')
  workdir = tmp_path / 'work'
  flags = f"""--dataset=coco:{tmp_path} --method=lshfm --pooling=gwp
    --teacher=convnet_4_8 --student=convnet_4_8 --image_size=8
    --method.hashes=64 --batch_size=4 --epochs=1 --align_epochs=1
    --workdir={workdir}"""
  assert multilabel.COMMAND.main(flags.split()) == 2  # the broken image
  assert multilabel.COMMAND.main([*flags.split(), '--resume']) == 2
  flags = flags.replace('/work', '/other') + ' --broken_images=skip'
  assert multilabel.COMMAND.main(flags.split()) == 0
  runs = tmp_path / 'other/runs'
  steps = {
    arm: files.read_lines(runs / arm / 'seed0/metrics.jsonl')[-1]['step']
    for arm in ('teacher', 'student', 'lshfm')
  }
  # Arms without method parameters have no first stage. 11 images, batch 4.
  assert steps == {'teacher': 2, 'student': 2, 'lshfm': 4}
  table = (tmp_path / 'other/report/table.md').read_text()
  assert 'mAP after the last epoch' in table
  assert 'ccuracy' not in table


def test_defaults_depend_on_the_dataset():
  voc, coco = (
    multilabel.COMMAND.make_config(method='lshfm', dataset=name)
    for name in ('voc2007', 'coco2014')
  )
  assert voc == multilabel.COMMAND.make_config()
  settings = {'loss': 'lshl2', 'head': '2fc'}
  assert voc.method == Lshfm(weight=0.5, hashes=8192, **settings)
  assert coco.method == Lshfm(weight=3.0, hashes=2048, **settings)


@pytest.mark.parametrize(
  ('flags', 'factor'),
  [
    ({}, 2.0),
    ({'dataset': 'coco2014'}, 1 / 3),
    ({'method.weight': 5.0}, 0.2),
    ({'recipe.align_factor': 7.0}, 7.0),
    ({'recipe.align_epochs': 0}, None),
  ],
)
def test_default_align_factor_gives_alignment_terms_weight_one(flags, factor):
  dataset = flags.pop('dataset', 'voc2007')
  config = multilabel.COMMAND.make_config(dataset=dataset)
  settings = [defaults.Default(*item, 'test') for item in flags.items()]
  resolved, filled = defaults.resolve(defaults.apply(config, settings))
  assert resolved.recipe.align_factor == factor
  said = [default.flag for default in filled]
  assert ('align_factor' in said) == (factor not in (None, 7.0))


def test_soft_targets_have_a_small_weight():
  voc = multilabel.COMMAND.make_config(method='kd', dataset='voc2007')
  coco = multilabel.COMMAND.make_config(method='kd', dataset='coco:anywhere')
  assert (voc.recipe.batch_size, coco.recipe.batch_size) == (16, 32)
  assert (voc.task.envelope, coco.task.envelope) == (True, False)
  assert voc.method == Kd(task_weight=1.0, weight=0.001)


def test_limit_per_class_raises_an_error():
  with pytest.raises(ValueError, match='several classes each'):
    multilabel.Config(limit=3)
