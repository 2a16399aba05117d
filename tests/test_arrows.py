"""Imports point one way, between packages and between files.

The allowed imports are those of docs/architecture.md:
imports inside functions and under `TYPE_CHECKING` count.
"""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
EVERYWHERE = {
  'features',
  'messages',
  'names',
  'network',
  'paths',
  'typing',
}
# What each package may import of the others; all may import EVERYWHERE.
ALLOWED = {
  'features': set(),
  'messages': set(),
  'names': set(),
  'network': set(),
  'paths': set(),
  'typing': set(),
  'losses': set(),
  'metrics': set(),
  'layers': set(),
  'runtime': set(),
  'report': {'runtime'},
  'models': {'layers'},
  'data': {'runtime'},
  'convert': {'models', 'runtime'},
  'methods': {'losses', 'layers'},
  'tasks': {'losses', 'metrics'},
  'train': {'runtime', 'methods', 'models', 'data', 'tasks'},
  'studies': {
    'train',
    'runtime',
    'methods',
    'models',
    'data',
    'tasks',
    'convert',
  },
  'cli': {'studies', 'train', 'runtime', 'methods', 'models', 'data', 'report'},
}


def _files() -> dict[str, pathlib.Path]:
  """Returns the source files of the library by module name."""
  found = {}
  for path in (ROOT / 'kdjax').rglob('*.py'):
    parts = path.relative_to(ROOT).with_suffix('').parts
    found['.'.join(part for part in parts if part != '__init__')] = path
  return found


FILES = _files()


def _imports(path: pathlib.Path) -> set[str]:
  """Returns the full names of all modules that a file imports."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      assert not node.level, f'{path} has a relative import'
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
  return found


def _imported_files(path: pathlib.Path) -> set[str]:
  """Returns the modules of the library that a file imports."""
  found = set()
  for name in _imports(path):
    while name and name not in FILES:
      name = name.rpartition('.')[0]
    if name:
      found.add(name)
  return found


def _packages(path: pathlib.Path) -> set[str]:
  """Returns the packages of kdjax that a file imports from."""
  names = [name.split('.') for name in _imports(path)]
  return {name[1] for name in names if name[0] == 'kdjax' and len(name) > 1}


def _files_of(package: str) -> list[pathlib.Path]:
  module = ROOT / 'kdjax' / f'{package}.py'
  return (
    [module] if module.exists() else [*(ROOT / 'kdjax' / package).rglob('*.py')]
  )


@pytest.mark.parametrize('package', ALLOWED)
def test_package_imports_allowed_packages_only(package):
  assert _files_of(package)
  allowed = ALLOWED[package] | EVERYWHERE | {package}
  wrong = {
    f'{path.relative_to(ROOT)} imports kdjax.{other}'
    for path in _files_of(package)
    for other in _packages(path) - allowed
  }
  assert not wrong


def test_package_imports_have_no_cycle():
  graphlib.TopologicalSorter(ALLOWED).prepare()


def test_file_imports_have_no_cycle():
  arrows = {name: _imported_files(path) for name, path in FILES.items()}
  for name, imported in arrows.items():
    imported.discard(name)
  graphlib.TopologicalSorter(arrows).prepare()


def test_every_package_is_listed():
  packages = {
    path.stem
    for path in (ROOT / 'kdjax').iterdir()
    if path.suffix == '.py' or (path / '__init__.py').exists()
  }
  assert packages - {'__init__'} == ALLOWED.keys()


def test_library_does_not_import_commands_or_tests():
  for path in (ROOT / 'kdjax').rglob('*.py'):
    outer = {name.split('.')[0] for name in _imports(path)}
    assert not outer & {'experiments', 'tests', 'benchmarks'}, path


def test_only_mesh_py_creates_meshes_and_shardings():
  layouts = {'jax.sharding.Mesh', 'jax.sharding.NamedSharding'}
  knowing = {
    path.name
    for path in (ROOT / 'kdjax').rglob('*.py')
    if _imports(path) & layouts
  }
  assert knowing == {'mesh.py'}
