"""Networks of work folders and files, and their names in tables."""

import json

import pytest

from kdjax.studies.sources import by_seed, find_sources


@pytest.fixture
def work(tmp_path):
  """Work folder with two arms of two finished and one unfinished run."""
  for arm in ('icd', 'student'):
    for seed in (0, 1, 2):
      run = tmp_path / 'work' / 'runs' / arm / f'seed{seed}'
      run.mkdir(parents=True)
      about = {'network': 'resnet8', 'arm': arm, 'seed': seed}
      (run / 'config.json').write_text(json.dumps(about))
      if seed < 2:
        (run / 'student').mkdir()
  return tmp_path / 'work'


def named(networks):
  return [(source.arm, source.seed) for source in networks]


def test_work_folder_gives_its_finished_runs(work):
  messages = []
  sources = find_sources([work], say=messages.append)
  assert named(sources) == [
    ('icd', 0),
    ('icd', 1),
    ('student', 0),
    ('student', 1),
  ]
  (left_out,) = messages
  assert 'icd/seed2' in left_out
  assert 'student/seed2' in left_out


def test_names_prefix_the_arms_of_work_folders(work, tmp_path):
  file = tmp_path / 'net.npz'
  file.touch()
  sources = find_sources(
    [work, work, file],
    names=['a', 'b', 'c'],
    network='resnet8',
    say=lambda _: None,
  )
  assert named(sources)[::4] == [('a-icd', 0), ('b-icd', 0), ('c', 0)]
  assert [source.role for source in sources[-1:]] == ['given']


def test_networks_have_their_own_seed_or_all_given_seeds(work):
  sources = find_sources([work], say=lambda _: None)
  assert [seed for _, seed in by_seed(sources, ())] == [0, 1, 0, 1]
  pairs = [(source.arm, seed) for source, seed in by_seed(sources, (5, 6))]
  assert len(set(pairs)) == 8
  assert pairs[:3] == [('icd_seed0', 5), ('icd_seed0', 6), ('icd_seed1', 5)]
  (one, *_) = sources
  pairs = [(source.arm, seed) for source, seed in by_seed([one], (5, 6))]
  assert pairs == [('icd', 5), ('icd', 6)]
