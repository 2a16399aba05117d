"""The code of docs/theorem.md, as it is printed there."""

import pathlib
import re

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'theorem.md'


def test_the_inequality_holds_as_printed():
  (code,) = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
  assert 'assert' in code
  exec(compile(code, str(PAGE), 'exec'), {'__name__': 'page'})
