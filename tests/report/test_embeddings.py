import numpy as np
import pytest

from kdjax.report import embeddings, read_study
from tests.report.synthetic import write_lines, write_study


def _store(folder, **arrays):
  run = folder / 'runs' / 'kd' / 'seed0'
  write_lines(run, [])
  np.savez(run / 'features.npz', **arrays)
  return read_study(folder).runs[0]


@pytest.mark.parametrize(
  ('arrays', 'message'),
  [
    ({'embedding': np.ones((3, 2))}, r'needs embedding and labels.*embedding'),
    (
      {'embedding': np.ones((3, 2)), 'labels': np.ones(4)},
      r'got \(3, 2\) and \(4,\)',
    ),
    ({'embedding': np.ones(3), 'labels': np.ones(3)}, r'got \(3,\)'),
    (
      {'embedding': np.full((3, 2), np.nan), 'labels': np.ones(3)},
      'not finite',
    ),
  ],
)
def test_invalid_arrays_raise_an_error_with_the_file_name(
  tmp_path, arrays, message
):
  run = _store(tmp_path, **arrays)
  with pytest.raises(
    ValueError, match=rf'runs/kd/seed0/features.npz.*{message}'
  ):
    embeddings.read_features(run)


@pytest.mark.parametrize('share', [0.0, 0.5, 0.95])
def test_a_truncated_file_raises_an_error_with_its_name(tmp_path, share):
  run = _store(tmp_path, embedding=np.ones((9, 2)), labels=np.ones(9))
  path = run.folder / 'features.npz'
  content = path.read_bytes()
  path.write_bytes(content[: int(share * len(content))])
  with pytest.raises(ValueError, match=r'seed0/features\.npz cannot be read'):
    embeddings.read_features(run)


def test_objects_are_not_unpickled(tmp_path):
  labels = np.array([{}] * 3, dtype=object)
  run = _store(tmp_path, embedding=np.ones((3, 2)), labels=labels)
  with pytest.raises(ValueError, match='cannot be read'):
    embeddings.read_features(run)


def test_different_numbers_of_images_raise_an_error(tmp_path):
  study = write_study(tmp_path)
  np.savez(
    study / 'runs' / 'kd' / 'seed0' / 'features.npz',
    embedding=np.ones((5, 16)),
    labels=np.arange(5),
  )
  with pytest.raises(ValueError, match=r'runs/kd/seed0.*has 5 images.*400'):
    embeddings.first_of_each_arm(read_study(study))
