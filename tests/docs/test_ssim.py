"""Code and test names in docs/ssim.md and docs/icd.md."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize('page', ['ssim', 'icd'])
def test_tests_named_on_the_page_exist(page):
  text = (ROOT / f'docs/{page}.md').read_text()
  named = set(re.findall(r'\b(test_\w+)\b(?!\.py)', text))
  assert len(named) > 5
  files = [*ROOT.glob('tests/losses/*.py'), *ROOT.glob('tests/methods/*.py')]
  source = '\n'.join(path.read_text() for path in files)
  assert {name for name in named if f'def {name}(' not in source} == set()


def test_code_of_the_page_runs():
  text = (ROOT / 'docs/ssim.md').read_text()
  (code,) = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
  assert 'assert' in code
  exec(compile(code, 'ssim.md', 'exec'), {'__name__': 'page'})
