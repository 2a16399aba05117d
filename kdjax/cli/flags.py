"""The flags of a command, read from its configuration.

`--method=NAME` is read before the other flags, because it decides which there
are: `--method.weight` belongs to the method. Some commands have no methods.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import tyro

from kdjax import methods
from kdjax.cli.compilation import Compilation
from kdjax.cli.processes import Processes
from kdjax.cli.work_folder import Place


class Asked(NamedTuple):
  """What a command line asks for."""

  config: Any
  place: Place
  processes: Processes
  compilation: Compilation


def parse(
  make_config: Callable[..., Any],
  argv: Sequence[str],
  name: str,
  default_method: str | None,
  by_pair: bool = False,
) -> Asked:
  """What flags ask for.

  Raises:
    ValueError: If a value cannot be; unknown flags end the process with a
      message of their own, as is usual.
  """
  description = sys.modules[make_config.__module__].__doc__ or ''
  if default_method is None:
    config, rest = make_config(), list(argv)
  else:
    method, rest = _take_method(argv, default_method)
    pair = _given(rest, ('teacher', 'student')) if by_pair else {}
    config = make_config(methods.create(method), **pair)
    description += (
      f'\n--method=NAME is one of {", ".join(methods.METHODS)}, or several of '
      'them joined by +.'
    )
  rest = _spread(rest, set(_flags_of_several(config)))

  flat = tyro.conf.arg(name='')  # unlike OmitArgPrefixes, keeps `method.`
  flags = dataclasses.make_dataclass(
    'Flags',
    [
      ('config', Annotated[type(config), flat], config),
      ('place', Annotated[Place, flat], Place()),
      ('processes', Annotated[Processes, flat], Processes()),
      ('compilation', Annotated[Compilation, flat], Compilation()),
    ],
    frozen=True,
  )
  asked = tyro.cli(
    flags,
    args=rest,
    prog=f'python -m {name}',
    description=description,
    config=(tyro.conf.FlagCreatePairsOff,),
    use_underscores=True,
  )
  return Asked(asked.config, asked.place, asked.processes, asked.compilation)


def _take_method(argv, default):
  """The value of `--method`, and the other arguments."""
  rest, method = [], default
  arguments = iter(argv)
  for argument in arguments:
    if argument.startswith('--method='):
      method = argument.removeprefix('--method=')
    elif argument == '--method':
      method = next(arguments, '')
    else:
      rest.append(argument)
  return method, rest


def _given(argv: Sequence[str], names: Sequence[str]) -> dict[str, str]:
  """The values of flags that decide the defaults of others."""
  found = {}
  for argument, following in zip(argv, [*argv[1:], '']):
    flag, equals, value = argument.partition('=')
    if flag.removeprefix('--') in names and flag.startswith('--'):
      found[flag[2:]] = value if equals else following
  return found


def _flags_of_several(config: Any, prefix: str = '') -> Iterator[str]:
  """The flags that take more than one value."""
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if isinstance(value, tuple):
      yield f'--{prefix}{field.name}'
    elif isinstance(value, methods.Method):
      yield from _flags_of_several(value, f'{prefix}{field.name}.')
    elif dataclasses.is_dataclass(value):
      yield from _flags_of_several(value, prefix)


def _spread(argv, several):
  """`--seeds=0,1,2` as the separate values that the parser takes."""
  spread, inside = [], False
  for argument in argv:
    flag, equals, value = argument.partition('=')
    if flag.startswith('--'):
      inside = '--' + flag[2:].replace('-', '_') in several
      spread += [flag, *value.split(',')] if inside and equals else [argument]
    else:
      spread += argument.split(',') if inside else [argument]
  return spread
