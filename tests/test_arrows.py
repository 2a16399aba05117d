"""Imports point one way: docs/architecture.md, read off the source."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
EVERYWHERE = {'features', 'names'}
# What each room may import of the others; all may import EVERYWHERE.
ALLOWED = {
  'features': set(),
  'names': set(),
  'losses': set(),
  'metrics': set(),
  'layers': set(),
  'models': {'layers'},
  'data': set(),
  'convert': {'models'},
  'methods': {'losses', 'layers'},
  'tasks': {'losses', 'metrics'},
  'report': set(),
  'train': {'methods', 'models', 'data', 'tasks', 'convert'},
}


def _imports(path: pathlib.Path) -> set[str]:
  """Full names of the modules that a file imports, at any depth."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      assert not node.level, f'{path} has a relative import'
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
  return found


def _rooms(path: pathlib.Path) -> set[str]:
  """The rooms of kdjax that a file imports from."""
  names = [name.split('.') for name in _imports(path)]
  return {name[1] for name in names if name[0] == 'kdjax' and len(name) > 1}


def _files(room: str) -> list[pathlib.Path]:
  module = ROOT / 'kdjax' / f'{room}.py'
  return (
    [module] if module.exists() else [*(ROOT / 'kdjax' / room).rglob('*.py')]
  )


@pytest.mark.parametrize('room', ALLOWED)
def test_a_room_imports_only_what_lies_behind_it(room):
  assert _files(room)
  allowed = ALLOWED[room] | EVERYWHERE | {room}
  wrong = {
    f'{path.relative_to(ROOT)} imports kdjax.{other}'
    for path in _files(room)
    for other in _rooms(path) - allowed
  }
  assert not wrong


def test_every_room_has_its_arrows_here():
  rooms = {
    path.stem
    for path in (ROOT / 'kdjax').iterdir()
    if path.suffix == '.py' or (path / '__init__.py').exists()
  }
  assert rooms - {'__init__'} == ALLOWED.keys()


def test_the_library_knows_nothing_of_commands_and_tests():
  for path in (ROOT / 'kdjax').rglob('*.py'):
    outer = {name.split('.')[0] for name in _imports(path)}
    assert not outer & {'experiments', 'tests', 'benchmarks'}, path


def test_only_one_file_lays_out_devices():
  layouts = {'jax.sharding.Mesh', 'jax.sharding.NamedSharding'}
  knowing = {
    path.name
    for path in (ROOT / 'kdjax').rglob('*.py')
    if _imports(path) & layouts
  }
  assert knowing == {'mesh.py'}
