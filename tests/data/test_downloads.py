"""Complete and interrupted downloads from a local server."""

import hashlib
import http.server
import threading
import types

import pytest
from tensorflow_datasets.core import utils
from tensorflow_datasets.core.download import checksums

from kdjax.data.tfds import downloads

CONTENT = bytes(range(256)) * 40


class Server(http.server.BaseHTTPRequestHandler):
  """Serves `CONTENT` or a range of it, and counts the bytes sent."""

  sent = 0
  breaks_after: int | None = None  # bytes, once
  knows_ranges = True
  content = CONTENT

  def do_HEAD(self):
    self.send_response(200)
    self.end_headers()

  def do_GET(self):
    cls = type(self)
    wanted = self.headers.get('Range', 'bytes=0-') if cls.knows_ranges else None
    start = int(wanted[6:-1]) if wanted else 0
    body = cls.content[start:]
    self.send_response(206 if wanted and start else 200)
    self.send_header('Content-Length', str(len(body)))
    self.end_headers()
    if cls.breaks_after is not None:
      body, cls.breaks_after = body[: cls.breaks_after], None
    cls.sent += len(body)
    self.wfile.write(body)

  def log_message(self, *_):
    pass


@pytest.fixture
def server(monkeypatch):
  monkeypatch.setenv('no_proxy', '127.0.0.1')
  handler = type('Handler', (Server,), {})
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as made:
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    handler.url = f'http://127.0.0.1:{made.server_port}/set.zip'
    yield handler
    made.shutdown()
    thread.join()


@pytest.fixture
def builder(server):
  info = checksums.UrlInfo(
    size=utils.Size(len(CONTENT)),
    checksum=hashlib.sha256(CONTENT).hexdigest(),
    filename='set.zip',
  )
  return types.SimpleNamespace(
    name='toy', urls=(server.url,), url_infos={server.url: info}
  )


def downloaded(data_dir):
  return [p for p in data_dir.rglob('*') if p.is_file() and p.suffix == '.zip']


def test_file_is_downloaded_once(tmp_path, server, builder):
  downloads.ensure_files(tmp_path, builder)
  downloads.ensure_files(tmp_path, builder)
  (file,) = downloaded(tmp_path)
  assert file.read_bytes() == CONTENT
  assert server.sent == len(CONTENT)


def test_interrupted_download_is_resumed(tmp_path, server, builder):
  server.breaks_after = 3000
  with pytest.raises(OSError, match='run again to resume'):
    downloads.ensure_files(tmp_path, builder)
  downloads.ensure_files(tmp_path, builder)
  (file,) = downloaded(tmp_path)
  assert file.read_bytes() == CONTENT
  assert server.sent == len(CONTENT)
  assert not list(tmp_path.rglob('*.part'))


def test_server_without_range_requests_sends_the_whole_file(
  tmp_path, server, builder
):
  server.breaks_after, server.knows_ranges = 3000, False
  with pytest.raises(OSError, match='cut off after 3000 of'):
    downloads.ensure_files(tmp_path, builder)
  downloads.ensure_files(tmp_path, builder)
  (file,) = downloaded(tmp_path)
  assert file.read_bytes() == CONTENT
  assert server.sent == len(CONTENT) + 3000


@pytest.mark.parametrize('content', [CONTENT[::-1], CONTENT + b'more'])
def test_download_with_wrong_checksum_is_deleted(
  tmp_path, server, builder, content
):
  server.content = content
  with pytest.raises(ValueError, match='is not the registered file'):
    downloads.ensure_files(tmp_path, builder)
  assert not [path for path in tmp_path.rglob('*') if path.is_file()]
  server.content = CONTENT
  downloads.ensure_files(tmp_path, builder)
  assert downloaded(tmp_path)


def test_file_in_the_data_folder_is_not_downloaded(tmp_path, server, builder):
  (tmp_path / 'set.zip').write_bytes(CONTENT)
  downloads.ensure_files(tmp_path, builder)
  assert server.sent == 0


def test_damaged_file_in_the_data_folder_raises_an_error(
  tmp_path, server, builder
):
  (tmp_path / 'set.zip').write_bytes(CONTENT[:-1])
  with pytest.raises(ValueError, match=r'set.zip is damaged or another file'):
    downloads.ensure_files(tmp_path, builder)
  assert server.sent == 0
