"""A work folder in an object store: Google's, by a stand-in on this disk.

Files go through epath and fsspec as they would; for arrays tensorstore is sent
to the disk in the place of its own driver of the store.
"""

import types

import pytest
from etils.epath import backend
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from orbax.checkpoint._src.path import gcs_utils

from experiments import cifar
from kdjax.runtime import orbax_folders
from tests.experiments import commands

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path, monkeypatch):
  """Local folder that stands in for `gs://`."""
  folder = tmp_path / 'gs'

  class Store(DirFileSystem):
    def _join(self, path):
      return super()._join(str(path).removeprefix('gs://'))

  local = LocalFileSystem(auto_mkdir=True)
  systems = {'gcs': Store(str(folder), local), 'file': local}

  def driver(place):
    path = str(place).removeprefix('gs://')
    return {'driver': 'file', 'path': f'{folder / path}/'}

  monkeypatch.setattr(backend.fsspec_backend, '_get_filesystem', systems.get)
  monkeypatch.setattr(gcs_utils, 'get_kvstore_for_gcs', driver)
  flat = types.SimpleNamespace(hierarchical_namespace_enabled=False)
  monkeypatch.setattr(gcs_utils, 'get_bucket', lambda name: flat)
  monkeypatch.setattr(orbax_folders, '_url', driver)
  return folder


def _command(*flags):
  return cifar.COMMAND.main([*commands.SMALL, *flags])


def test_run_is_written_to_and_resumed_from_an_object_store(
  disk, tmp_path, capsys, compiled_once
):
  data = f'--dataset={commands.write_npz(tmp_path / "data")}'
  assert _command(data, f'--workdir={tmp_path}/w') == 0
  there = [data, '--workdir=gs://bucket/some/w']
  assert _command(*there) == 0
  stored = disk / 'bucket/some/w'
  for run in ('student/seed0', 'kd/seed0'):
    commands.same_result_of(tmp_path / 'w', stored, run)
  assert (stored / 'report/report.html').stat().st_size > 1000
  assert _command(*there) == 2
  assert (
    'gs://bucket/some/w holds runs of this configuration'
    in capsys.readouterr().err
  )
  # Without its end a run goes on from its last checkpoint.
  metrics = stored / 'runs/kd/seed0/metrics.jsonl'
  lines = metrics.read_text().splitlines(keepends=True)
  metrics.write_text(''.join(lines[:-1]))
  assert _command(*there, '--resume') == 0
  commands.same_result_of(tmp_path / 'w', stored, 'kd/seed0')


def test_unreachable_object_store_gives_an_error(tmp_path, capsys):
  data = f'--dataset={commands.write_npz(tmp_path / "data")}'
  assert _command(data, '--workdir=az://bucket/w') == 2
  said = capsys.readouterr().err
  assert '--workdir=az://bucket/w cannot be written to' in said
