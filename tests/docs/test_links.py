"""Tests that the links and file names of the documentation exist."""

import importlib
import pathlib
import re

import pytest

from kdjax import losses

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted(
  path.relative_to(ROOT).as_posix()
  for pattern in ('*.md', 'docs/*.md', 'results/*/README.md')
  for path in ROOT.glob(pattern)
)
PACKAGES = 'kdjax|experiments|benchmarks|tests|docs|results|colab'


def _anchors(path: pathlib.Path) -> set[str]:
  """Returns the anchors of a page's headings, as GitHub makes them."""
  text = re.sub(r'```.*?```', '', path.read_text('utf-8'), flags=re.DOTALL)
  headings = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
  return {
    re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
    for heading in headings
  }


@pytest.mark.parametrize('page', PAGES)
def test_relative_links_exist(page):
  path = ROOT / page
  links = re.findall(r'\]\(([^()\s]+)\)', path.read_text('utf-8'))
  for link in links:
    if ':' in link:
      continue
    name, _, anchor = link.partition('#')
    target = path.parent / name if name else path
    assert target.exists(), link
    assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize('page', PAGES)
def test_named_files_and_modules_exist(page):
  text = (ROOT / page).read_text('utf-8')
  files = re.findall(rf'`((?:{PACKAGES})/[\w./]+)`', text)
  assert not [name for name in files if not (ROOT / name).exists()]
  modules = re.findall(
    r'python -m ((?:kdjax|experiments|benchmarks)\.\w+)', text
  )
  missing = [
    name
    for name in modules
    if not (ROOT / f'{name.replace(".", "/")}.py').exists()
    and not (ROOT / name.replace('.', '/') / '__main__.py').exists()
  ]
  assert not missing


def _exists(name: str) -> bool:
  """Whether a dotted name is a module or an attribute of one."""
  parts = name.split('.')
  for count in range(len(parts), 0, -1):
    try:
      found = importlib.import_module('.'.join(parts[:count]))
    except ModuleNotFoundError:
      continue
    for part in parts[count:]:
      if not hasattr(found, part):
        return False
      found = getattr(found, part)
    return True
  return False


@pytest.mark.parametrize('page', PAGES)
def test_named_objects_exist(page):
  text = (ROOT / page).read_text('utf-8')
  names = re.findall(r'`(kdjax(?:\.\w+)+)', text)
  assert not [name for name in names if not _exists(name)]
  functions = re.findall(r'`losses\.(\w+)', text)
  assert not [name for name in functions if not hasattr(losses, name)]
