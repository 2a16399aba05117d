"""What stands for which network in a table; no weights are read for that."""

import json

import pytest

from kdjax.studies.sources import by_seed, find_sources


@pytest.fixture
def work(tmp_path):
  """A work folder: two seeds of two arms, one more run that has not ended."""
  for arm in ('icd', 'student'):
    for seed in (0, 1, 2):
      run = tmp_path / 'work' / 'runs' / arm / f'seed{seed}'
      run.mkdir(parents=True)
      about = {'network': 'resnet8', 'arm': arm, 'seed': seed}
      (run / 'config.json').write_text(json.dumps(about))
      if seed < 2:
        (run / 'student').mkdir()
  return tmp_path / 'work'


def named(sources):
  return [(source.arm, source.seed) for source in sources]


def test_a_work_folder_stands_for_its_runs_that_have_ended(work):
  said = []
  found = find_sources([work], say=said.append)
  assert named(found) == [
    ('icd', 0),
    ('icd', 1),
    ('student', 0),
    ('student', 1),
  ]
  (left_out,) = said
  assert 'icd/seed2' in left_out
  assert 'student/seed2' in left_out


def test_names_tell_work_folders_and_files_apart(work, tmp_path):
  file = tmp_path / 'net.npz'
  file.touch()
  found = find_sources(
    [work, work, file],
    names=['a', 'b', 'c'],
    network='resnet8',
    say=lambda _: None,
  )
  assert named(found)[::4] == [('a-icd', 0), ('b-icd', 0), ('c', 0)]
  assert [source.role for source in found[-1:]] == ['given']


def test_each_network_has_its_own_seed_or_all_of_those_given(work):
  found = find_sources([work], say=lambda _: None)
  assert [seed for _, seed in by_seed(found, ())] == [0, 1, 0, 1]
  places = [(source.arm, seed) for source, seed in by_seed(found, (5, 6))]
  assert len(set(places)) == 8
  assert places[:3] == [('icd_seed0', 5), ('icd_seed0', 6), ('icd_seed1', 5)]
  (one, *_) = found
  places = [(source.arm, seed) for source, seed in by_seed([one], (5, 6))]
  assert places == [('icd', 5), ('icd', 6)]
