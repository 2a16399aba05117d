"""HTML elements of a report; all text is escaped."""

import base64
import json
from collections.abc import Sequence
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; font-weight: 600; }
h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd;
         text-align: right; white-space: nowrap; }
th { font-weight: 600; border-bottom: 2px solid #222; }
.text { text-align: left; }
.wide { overflow-x: auto; }
figure { margin: 2rem 0; }
img { max-width: 100%; height: auto; }
figcaption, .caption { color: #555; font-size: .9rem; max-width: 46rem; }
pre { background: #f6f6f6; padding: .8rem 1rem; overflow-x: auto;
      font-size: .85rem; line-height: 1.4; }
"""


def document(title: str, parts: Sequence[str]) -> str:
  """Returns a complete HTML page.

  Args:
    title: Text of the browser's title bar.
    parts: HTML of the body, in order.
  """
  body = '\n'.join(parts)
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n'
    f'</head>\n<body>\n{body}\n</body>\n</html>\n'
  )


def element(tag: str, text: str, kind: str = '') -> str:
  """Returns one element that contains a text.

  Args:
    tag: Name of the element.
    text: Plain text; it is escaped.
    kind: Value of the `class` attribute (default: no attribute).
  """
  attribute = f' class="{kind}"' if kind else ''
  return f'<{tag}{attribute}>{escape(text)}</{tag}>'


def items(texts: Sequence[str]) -> str:
  """Returns an unordered list of plain texts."""
  rows = '\n'.join(element('li', text) for text in texts)
  return f'<ul>\n{rows}\n</ul>'


def table(
  header: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int
) -> str:
  """Returns a table.

  Args:
    header: Column names.
    rows: Cells as plain text, each row as long as the header.
    text_columns: Number of leading columns aligned left; the rest hold numbers
      and are aligned right.
  """
  lines = [_row(header, 'th', text_columns)]
  lines += [_row(cells, 'td', text_columns) for cells in rows]
  return '<div class="wide"><table>\n' + '\n'.join(lines) + '\n</table></div>'


def picture(png: bytes, caption: str) -> str:
  """Returns a figure with a PNG embedded in the page.

  Args:
    png: The file's content.
    caption: Plain text; its first sentence is the alternative text.
  """
  data = base64.b64encode(png).decode('ascii')
  alt = escape(caption.split('. ')[0])
  return (
    f'<figure>\n<img alt="{alt}" src="data:image/png;base64,{data}">\n'
    f'{element("figcaption", caption)}\n</figure>'
  )


def structure(value: Any) -> str:
  """Returns a JSON-serializable value as indented JSON."""
  return element('pre', json.dumps(value, indent=2, ensure_ascii=False))


def _row(cells: Sequence[str], tag: str, text_columns: int) -> str:
  elements = [
    element(tag, cell, 'text' if index < text_columns else '')
    for index, cell in enumerate(cells)
  ]
  return '<tr>' + ''.join(elements) + '</tr>'
