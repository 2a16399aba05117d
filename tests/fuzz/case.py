"""One generated input, and what must be true of the command that gets it."""

import dataclasses
import pathlib
import random
from collections.abc import Callable

Setup = Callable[[pathlib.Path], None]


@dataclasses.dataclass(frozen=True)
class Case:
  """A command line and the files that it reads.

  Attributes:
    name: What was generated, for the table.
    command: Module of the command.
    argv: Its arguments; paths are relative to the folder of the case.
    setup: Writes the files into that folder.
    harmless: Whether the input may turn out to be usable.
  """

  name: str
  command: str
  argv: tuple[str, ...]
  setup: Setup = lambda folder: None
  harmless: bool = False


def mutated(draw: random.Random, content: bytes) -> bytes:
  """Returns bytes with one kind of damage."""
  data, kind = bytearray(content), draw.randrange(6)
  if not data:
    return b'\0'
  place = draw.randrange(len(data))
  if kind == 0:
    return bytes(data[:place])
  if kind == 1:
    data[place] ^= 1 << draw.randrange(8)
  elif kind == 2:
    data[place : place + 64] = draw.randbytes(64)
  elif kind == 3:
    del data[place : place + draw.randrange(1, 100)]
  elif kind == 4:
    data[place:place] = draw.randbytes(draw.randrange(1, 100))
  else:
    data[:16] = draw.randbytes(16)
  return bytes(data)
