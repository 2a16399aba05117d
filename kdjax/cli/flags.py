"""Command lines: one parser, tyro's, run at most twice.

Some flags decide the defaults of others: `--method` says which `--method.…`
flags there are, and papers give settings by teacher, student or dataset. A
first pass reads only those flags and the work folder's; the second pass reads
the whole command line with the defaults that follow. Both read a value alike:
`--flag value` and `--flag=value`, `--data-dir` and `--data_dir`, and for a flag
with several values `--seeds 0 1 2`, `--seeds=0,1,2` or `--seeds 0,1,2`.
"""

import contextlib
import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from kdjax import methods
from kdjax.cli.compilation import Compilation
from kdjax.cli.flag_types import RULES
from kdjax.cli.processes import Processes
from kdjax.cli.usage_errors import UsageError, check_lists, describe
from kdjax.cli.work_folder import WorkFolder
from kdjax.studies.config import name_of

ConfigT = TypeVar('ConfigT')

# Flags without a prefix; unlike OmitArgPrefixes it keeps `method.`.
_FLAT = tyro.conf.arg(name='')
_METHOD_HELP = (
  'Distillation method, or several joined by +, e.g. kd+kd2m: '
  f'{", ".join(methods.METHODS)}. Its settings are the --method.SETTING flags.'
)
# A name, or None if the flag is not given; the text "None" is a name.
_Name = Annotated[
  str | None,
  PrimitiveConstructorSpec(
    nargs=1,
    metavar='NAME',
    instance_from_str=lambda texts: texts[0],
    is_instance=lambda value: value is None or isinstance(value, str),
    str_from_instance=lambda value: [str(value)],
  ),
]


class CommandLine(NamedTuple):
  """A parsed command line.

  Attributes:
    config: Settings of the command.
    folder: Work folder.
    processes: Processes and devices of the command.
    compilation: Use of the cache of compiled programs.
    arguments: The arguments without `--workdir` and `--resume`.
  """

  config: Any
  folder: WorkFolder
  processes: Processes
  compilation: Compilation
  arguments: list[str]


def parse(
  make_config: Callable[..., Any],
  argv: Sequence[str],
  *,
  name: str,
  description: str | None,
  deciding: Sequence[str] = (),
) -> CommandLine:
  """Parses the command line of a command with a work folder.

  Args:
    make_config: Returns the default configuration; called with the values of
      the deciding flags that are given, as keyword arguments.
    argv: Arguments of the command.
    name: Module of the command, e.g. `experiments.digits`.
    description: Text at the head of `--help`.
    deciding: Names of the flags that decide the defaults of others.

  Raises:
    ValueError: If the arguments cannot be parsed; the message is one line.
  """
  given, arguments = _parse_deciding(argv, name, deciding)
  config = make_config(**given)
  fields = [
    ('config', Annotated[type(config), _FLAT], config),
    ('folder', Annotated[WorkFolder, _FLAT], WorkFolder()),
    ('processes', Annotated[Processes, _FLAT], Processes()),
    ('compilation', Annotated[Compilation, _FLAT], Compilation()),
  ]
  if 'method' in deciding:
    default = given.get('method', name_of(config.method))
    flag = tyro.conf.arg(name='method', help=_METHOD_HELP)
    fields.insert(0, ('method', Annotated[str, flag], default))
  flags = dataclasses.make_dataclass('Flags', fields, frozen=True)
  parsed = parse_config(flags, argv, name=name, description=description)
  return CommandLine(
    parsed.config,
    parsed.folder,
    parsed.processes,
    parsed.compilation,
    arguments,
  )


def parse_config(
  config: type[ConfigT],
  argv: Sequence[str],
  *,
  name: str,
  description: str | None,
) -> ConfigT:
  """Parses the command line of a command that has only settings.

  Args:
    config: Dataclass of the settings.
    argv: Arguments of the command.
    name: Module of the command.
    description: Text at the head of `--help`.

  Raises:
    ValueError: If the arguments cannot be parsed; the message is one line.
  """
  parsed = _parsed(
    lambda args: tyro.cli(config, args=args, **_options(name, description)),
    argv,
    name,
  )
  check_lists(argv, parsed)
  return parsed


def parse_subcommand(
  configs: dict[str, Callable[..., ConfigT]],
  argv: Sequence[str],
  *,
  name: str,
  description: str | None,
) -> ConfigT:
  """Parses the command line of a command with subcommands.

  Args:
    configs: Dataclass of the settings of each subcommand, by its name.
    argv: Arguments of the command, the subcommand first.
    name: Module of the command.
    description: Text at the head of `--help`.

  Raises:
    ValueError: If the arguments cannot be parsed; the message is one line.
  """
  chosen = [argument for argument in argv[:1] if argument in configs]
  parsed = _parsed(
    lambda args: tyro.extras.subcommand_cli_from_dict(
      configs, args=args, **_options(name, description)
    ),
    argv,
    name,
    chosen,
  )
  check_lists(argv, parsed)
  return parsed


def _parsed(
  parse_: Callable[[Sequence[str]], Any],
  argv: Sequence[str],
  name: str,
  subcommand: Sequence[str] = (),
) -> Any:
  """Returns what a parser returns.

  Args:
    parse_: The parser, which prints a mistake and ends the process.
    argv: Arguments of the command.
    name: Module of the command.
    subcommand: Arguments before `--help` (default: none).

  Raises:
    UsageError: If there is a mistake.
  """
  said = io.StringIO()
  try:
    with contextlib.redirect_stderr(said):
      return parse_(argv)
  except SystemExit as stop:
    if not stop.code:
      raise  # after --help
  help_ = _help(parse_, subcommand)
  raise UsageError(describe(name, argv, help_, said.getvalue()))


def _help(
  parse_: Callable[[Sequence[str]], Any], subcommand: Sequence[str]
) -> str:
  said = io.StringIO()
  with (
    contextlib.redirect_stdout(said),
    contextlib.redirect_stderr(io.StringIO()),
    contextlib.suppress(SystemExit),
  ):
    parse_([*subcommand, '--help'])
  return said.getvalue()


def _options(name: str, description: str | None = None) -> dict[str, Any]:
  """Returns the settings of the parser, the same for all commands."""
  return {
    'prog': f'python -m {name}',
    'description': description,
    'config': (tyro.conf.FlagCreatePairsOff,),
    'use_underscores': True,
    'registry': RULES,
  }


def _parse_deciding(
  argv: Sequence[str], name: str, deciding: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
  """Returns the deciding flags and the arguments without the work folder."""
  fields = [
    ('folder', Annotated[WorkFolder, _FLAT], WorkFolder()),
    *((flag, _Name, None) for flag in deciding),
  ]
  flags = dataclasses.make_dataclass('Deciding', fields, frozen=True)
  parsed, others = _parsed(
    lambda args: tyro.cli(
      flags,
      args=args,
      add_help=False,  # the second pass prints the help of all flags
      return_unknown_args=True,
      **_options(name),
    ),
    argv,
    name,
  )
  values = {flag: getattr(parsed, flag) for flag in deciding}
  given = {flag: value for flag, value in values.items() if value is not None}
  own = [f'--{flag}={value}' for flag, value in given.items()]
  return given, [*own, *others]
