import pathlib

import pytest

nbclient = pytest.importorskip('nbclient', reason='nbclient is not installed')
nbformat = pytest.importorskip('nbformat', reason='nbformat is not installed')
pytest.importorskip('ipykernel', reason='ipykernel is not installed')

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_NOTEBOOK = _ROOT / 'colab' / 'quickstart.ipynb'


def _read():
  return nbformat.read(_NOTEBOOK, as_version=4)


def _text(cells):
  """Returns the outputs of code cells as text."""
  shown = []
  for cell in cells:
    for output in cell.get('outputs', ()):
      data = output.get('data', {})
      shown.append(output.get('text', ''))
      shown += [data[x] for x in ('text/plain', 'text/markdown') if x in data]
  return '\n'.join(shown)


def test_notebook_is_valid_and_has_no_outputs():
  notebook = _read()
  nbformat.validate(notebook)
  code = [cell for cell in notebook.cells if cell.cell_type == 'code']
  assert all(not cell.outputs and not cell.execution_count for cell in code)


def test_kdjax_is_installed_only_if_missing():
  install = next(c.source for c in _read().cells if '%pip' in c.source)
  assert install.index("find_spec('kdjax') is None") < install.index('%pip')


@pytest.mark.slow
def test_notebook_runs(tmp_path, monkeypatch):
  monkeypatch.setenv('KDJAX_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setenv('PYTHONPATH', str(_ROOT))
  monkeypatch.setenv('JUPYTER_PLATFORM_DIRS', '1')  # or it warns
  monkeypatch.delenv('XLA_FLAGS', raising=False)  # one device, as in Colab
  notebook = _read()
  parameters = [
    cell
    for cell in notebook.cells
    if 'parameters' in cell.metadata.get('tags', ())
  ]
  assert len(parameters) == 1
  parameters[0].source = 'SEEDS = (0, 1)\nEPOCHS = 2'
  nbclient.NotebookClient(
    notebook,
    timeout=600,
    kernel_name='python3',
    resources={'metadata': {'path': str(tmp_path)}},
  ).execute()
  shown = _text(notebook.cells)
  assert '| kd2m | convnet_8_16 | 2 |' in shown
  assert 'predicted [' in shown
  images = [
    output
    for cell in notebook.cells
    for output in cell.get('outputs', ())
    if 'image/png' in output.get('data', {})
  ]
  assert len(images) == 4
  (page,) = tmp_path.glob('runs/*/report/report.html')
  assert 'kd2m' in page.read_text('utf-8')
