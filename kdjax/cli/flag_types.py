"""Rules of the parser: lists, folders, and the text of `--help`."""

import dataclasses
import pathlib
import re
import types
import typing
from typing import Annotated, Any

import tyro
from etils import epath
from tyro.constructors import (
  ConstructorRegistry,
  PrimitiveConstructorSpec,
  PrimitiveTypeInfo,
  StructConstructorSpec,
  StructFieldSpec,
  StructTypeInfo,
)

from kdjax.paths import any_path, local_path

Folder = Annotated[
  epath.Path,
  PrimitiveConstructorSpec(
    nargs=1,
    metavar='FOLDER',
    instance_from_str=lambda texts: any_path(texts[0]),
    is_instance=lambda value: isinstance(value, epath.Path),
    str_from_instance=lambda folder: [str(folder)],
  ),
]

RULES = ConstructorRegistry()
_NONE = type(None)


@RULES.primitive_rule
def _path_spec(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
  """Reads every `pathlib.Path` alike: a path on this machine."""
  if info.type is not pathlib.Path:
    return None
  return PrimitiveConstructorSpec(
    nargs=1,
    metavar='PATH',
    instance_from_str=lambda texts: local_path(texts[0]),
    is_instance=lambda value: isinstance(value, pathlib.Path),
    str_from_instance=lambda path: [str(path)],
  )


@RULES.primitive_rule
def _optional_spec(
  info: PrimitiveTypeInfo,
) -> PrimitiveConstructorSpec[Any] | None:
  """Reads `X | None`; tyro's own rule reports the errors of both types."""
  items = [item for item in typing.get_args(info.type) if item is not _NONE]
  union = typing.get_origin(info.type) in (typing.Union, types.UnionType)
  if not union or len(items) != 1 or _NONE not in typing.get_args(info.type):
    return None
  item = ConstructorRegistry.get_primitive_spec(
    PrimitiveTypeInfo.make(items[0], info.markers)
  )
  if not isinstance(item, PrimitiveConstructorSpec) or item.nargs != 1:
    return None
  if item.choices is not None:
    return None  # tyro lists them
  return PrimitiveConstructorSpec(
    nargs=1,
    metavar=f'{{None}}|{item.metavar}',
    instance_from_str=lambda texts: (
      None if texts == ['None'] else item.instance_from_str(texts)
    ),
    is_instance=lambda value: value is None or item.is_instance(value),
    str_from_instance=lambda value: (
      ['None'] if value is None else item.str_from_instance(value)
    ),
  )


@RULES.primitive_rule
def _list_spec(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
  """Reads `tuple[X, ...]` from words, each of one value or several by commas.

  A list of tuples is left to tyro's own rule.
  """
  items = typing.get_args(info.type)
  if info.type_origin is not tuple or items[1:] != (...,):
    return None
  item = ConstructorRegistry.get_primitive_spec(
    PrimitiveTypeInfo.make(items[0], info.markers)
  )
  if not isinstance(item, PrimitiveConstructorSpec) or item.nargs != 1:
    return None
  return PrimitiveConstructorSpec(
    nargs='*',
    metavar=f'[{item.metavar} ...]',
    instance_from_str=lambda words: tuple(
      item.instance_from_str([text])
      for word in words
      for text in word.split(',')
    ),
    is_instance=lambda value: (
      isinstance(value, tuple) and all(map(item.is_instance, value))
    ),
    str_from_instance=lambda value: [
      text for one in value for text in item.str_from_instance(one)
    ],
  )


_OWN_DEFAULT = re.compile(r' ?\(default: [^()]*\)')
_in_default_rule: set[type] = set()


@RULES.struct_rule
def _dataclass_spec(info: StructTypeInfo) -> StructConstructorSpec | None:
  """Reads dataclasses by tyro's own rule, with other texts for `--help`."""
  if not dataclasses.is_dataclass(info.type) or info.type in _in_default_rule:
    return None
  _in_default_rule.add(info.type)
  try:
    spec = ConstructorRegistry.get_struct_spec(info)
  finally:
    _in_default_rule.discard(info.type)
  if not isinstance(spec, StructConstructorSpec):
    return None
  return dataclasses.replace(spec, fields=tuple(map(_with_help, spec.fields)))


def _with_help(field: StructFieldSpec) -> StructFieldSpec:
  """Returns a field whose help has one paragraph and names one default.

  tyro appends the default. It is left out where it is None and the docstring
  says "(default: …)", and the docstring's where it is not None.
  """
  text = field.helptext() if callable(field.helptext) else field.helptext
  if text is None:
    return field
  text, kind = ' '.join(text.split()), field.type
  if field.default not in (None, ()):
    text = _OWN_DEFAULT.sub('', text)
  elif _OWN_DEFAULT.search(text):
    kind = Annotated[kind, tyro.conf.arg(help_behavior_hint='')]
  return dataclasses.replace(field, helptext=text, type=kind)
