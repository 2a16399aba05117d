import json
import shutil
import struct

import pytest
import tensorflow_datasets as tfds

from kdjax import data
from kdjax.data.tfds import cache, prepared


@pytest.fixture
def prepared_dir(tmp_path):
  data.load('digits', data_dir=tmp_path)
  folder = prepared.find(tmp_path, 'digits')
  shutil.rmtree(folder / cache.FOLDER)
  return folder


def to_tfrecord(folder):
  """Rewrites a prepared folder in TFDS's default format."""
  builder = tfds.builder_from_directory(folder)
  raw = tfds.decode.DeserializeMethod.RAW_BYTES
  for split in ('train', 'test'):
    source = builder.as_data_source(split, deserialize_method=raw)
    records = b''.join(
      struct.pack('<Q4x', len(record)) + record + bytes(4) for record in source
    )
    (old,) = folder.glob(f'*-{split}.array_record-*')
    old.with_name(old.name.replace('array_record', 'tfrecord')).write_bytes(
      records
    )
    old.unlink()
  info = folder / 'dataset_info.json'
  content = json.loads(info.read_text())
  info.write_text(json.dumps(content | {'fileFormat': 'tfrecord'}))


def test_tfrecord_is_read_without_tensorflow(tmp_path, prepared_dir):
  whole = data.load('digits', data_dir=tmp_path).fingerprint
  shutil.rmtree(prepared_dir / cache.FOLDER)
  to_tfrecord(prepared_dir)
  assert data.load('digits', data_dir=tmp_path).fingerprint == whole


@pytest.mark.parametrize('cut', [2, 10, 1000])
def test_truncated_tfrecord_raises_an_error(tmp_path, prepared_dir, cut):
  to_tfrecord(prepared_dir)
  (path,) = prepared_dir.glob('*-train.tfrecord-*')
  path.write_bytes(path.read_bytes()[:-cut])
  with pytest.raises(data.DataUnavailableError, match='truncated'):
    data.load('digits', data_dir=tmp_path)


@pytest.mark.parametrize('keep', [0, 5_000, 100_000])
def test_damaged_array_record_raises_an_error(tmp_path, prepared_dir, keep):
  (path,) = prepared_dir.glob('*-train.array_record-*')
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(
    data.DataUnavailableError, match=r'digits.1\.0\.0 cannot be read.*\n.*anew'
  ):
    data.load('digits', data_dir=tmp_path)


def test_newest_version_is_used(tmp_path):
  for version in ('1.9.0', '1.10.0', '1.2.0', '9.9.9.incomplete'):
    folder = tmp_path / 'digits' / version
    folder.mkdir(parents=True)
    (folder / 'dataset_info.json').touch()
  assert prepared.find(tmp_path, 'digits') == tmp_path / 'digits' / '1.10.0'
  assert prepared.find(tmp_path, 'cifar100') is None


def test_default_data_folder_is_that_of_tfds(monkeypatch, tmp_path):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  assert prepared.data_folder() == tmp_path
  monkeypatch.delenv('TFDS_DATA_DIR')
  monkeypatch.setenv('HOME', str(tmp_path))
  assert prepared.data_folder() == tmp_path / 'tensorflow_datasets'


@pytest.mark.parametrize('file', ['dataset_info.json', 'features.json'])
@pytest.mark.parametrize('content', ['', '{', '[1]', '{"name": 7}'])
def test_broken_descriptions_are_named(tmp_path, prepared_dir, file, content):
  (prepared_dir / file).write_text(content)
  with pytest.raises(
    data.DataUnavailableError, match=r'digits.1\.0\.0 cannot be read'
  ):
    data.load('digits', data_dir=tmp_path)


@pytest.mark.parametrize('cached', [False, True])
@pytest.mark.parametrize('change', [['ten'], ['9']])
def test_other_class_names_than_published(
  tmp_path, prepared_dir, cached, change
):
  if cached:
    data.load('digits', data_dir=tmp_path)
  names = prepared_dir / 'label.labels.txt'
  lines = names.read_text().split()
  kept = lines if change == ['ten'] else lines[:-2] + change
  names.write_text('\n'.join(kept + change) + '\n')
  with pytest.raises(data.DataUnavailableError, match=r'Delete that folder'):
    data.load('digits', data_dir=tmp_path)
