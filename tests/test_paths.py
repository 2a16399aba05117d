"""Paths that users give: one meaning in every flag and variable."""

import os
import pathlib

import pytest
from etils import epath

from kdjax.data import names
from kdjax.paths import any_path, check_storable, local_path
from kdjax.runtime.cache import cache_folder

NOT_UTF8 = os.fsdecode(b'f\xfcr')


@pytest.mark.parametrize(
  ('given', 'path'),
  [
    ('~/x', pathlib.Path.home() / 'x'),
    ('~', pathlib.Path.home()),
    ('a/../b', pathlib.Path('a/../b')),
    ('/a b/ü', pathlib.Path('/a b/ü')),
    (f'x/{NOT_UTF8}', pathlib.Path(f'x/{NOT_UTF8}')),
    ('.', pathlib.Path()),
    ('dir/a://b', pathlib.Path('dir/a:/b')),
    ('./~x', pathlib.Path('~x').absolute()),
  ],
)
def test_a_local_path(given, path):
  assert local_path(given) == path
  assert any_path(given) == epath.Path(path)
  assert isinstance(local_path(given), pathlib.Path)


@pytest.mark.parametrize('scheme', ['gs', 's3', 'az'])
def test_the_url_of_an_object_store_stays_one(scheme):
  url = f'{scheme}://bucket/a/b'
  assert os.fspath(any_path(url)) == url
  # As pathlib leaves it, from Python code.
  assert os.fspath(any_path(pathlib.PurePath(url))) == url
  for given in (url, pathlib.PurePath(url), epath.Path(url)):
    with pytest.raises(ValueError, match='is a URL, which cannot be used here'):
      local_path(given)


@pytest.mark.parametrize(
  ('given', 'why'),
  [
    ('', 'is not a path'),
    ('a\0b', 'is not a path'),
    ('foo://bar', 'foo:// is none of gs://, s3://, az://'),
    ('file:///x', 'file:// is none of'),
    ('gs://', 'names no bucket'),
    ('~nobody-has-this-name/x', 'is not the home folder of a user'),
    ('x' * 300, 'is too long: 300 bytes'),
    ('ü' * 150, 'with a name of 300'),
    ('a/' * 3000, 'is too long: 5999 bytes'),
  ],
)
def test_what_is_no_path_is_one_line(given, why):
  with pytest.raises(ValueError, match=r'.') as error:
    any_path(given)
  assert why in str(error.value)
  assert '\n' not in str(error.value)
  assert len(str(error.value)) < 400


def test_arrays_are_stored_under_utf8_names(tmp_path, monkeypatch):
  check_storable(tmp_path / 'ünï cödé')
  folder = tmp_path / NOT_UTF8
  for path in (folder, folder / 'x'):
    with pytest.raises(ValueError, match=r'f\\udcfcr.*, whose name is not'):
      check_storable(path)
  folder.mkdir()
  monkeypatch.chdir(folder)
  with pytest.raises(ValueError, match='is not UTF-8'):
    check_storable('relative')


def test_a_dataset_of_files_has_the_same_paths():
  assert names.parse_name('npz:~/x', ('npz',)) == (
    'npz',
    pathlib.Path.home() / 'x',
  )
  with pytest.raises(ValueError, match='gs://bucket/x'):
    names.parse_name('folder:gs://bucket/x', ('folder',))


@pytest.mark.parametrize(
  ('given', 'wanted'),
  [
    ('', pathlib.Path.home() / '.cache' / 'kdjax'),
    ('~/c', pathlib.Path.home() / 'c'),
  ],
)
def test_the_cache_folder(monkeypatch, given, wanted):
  monkeypatch.setenv('KDJAX_CACHE', given)
  assert cache_folder() == wanted


def test_a_cache_folder_in_a_store_is_named(monkeypatch):
  monkeypatch.setenv('KDJAX_CACHE', 'gs://bucket/c')
  with pytest.raises(ValueError, match='KDJAX_CACHE: gs://bucket/c is a URL'):
    cache_folder()
