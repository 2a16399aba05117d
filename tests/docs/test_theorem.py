"""The code of docs/theorem.md."""

import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'theorem.md'


@pytest.mark.slow
def test_inequality_holds_in_the_code_of_the_page():
  (code,) = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
  assert 'assert' in code
  exec(compile(code, str(PAGE), 'exec'), {'__name__': 'page'})
