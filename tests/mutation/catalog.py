"""What a mutation is, and the list of all of them."""

import dataclasses
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Mutation:
  """One fault.

  Attributes:
    name: Name in the table, which no other mutation has.
    file: Path of the source file below the root of the checkout.
    old: Text of the file, which it contains exactly once.
    new: Text in its place.
    tests: Node ids of the tests that must fail, without their parameters or
      with them.
  """

  name: str
  file: str
  old: str
  new: str
  tests: tuple[str, ...]

  def apply(self, text: str) -> str:
    """Returns the text of the file with the fault.

    Args:
      text: Text of the file.

    Raises:
      ValueError: If the text does not contain `old` exactly once.
    """
    count = text.count(self.old)
    if count != 1:
      raise ValueError(
        f'mutation {self.name}: {self.file} should contain its old text once '
        f'and contains it {count} times:\n{self.old}'
      )
    return text.replace(self.old, self.new)


def mutations_of(
  file: str, tests: str, *faults: tuple[str, str, str] | tuple[str, ...]
) -> list[Mutation]:
  """Returns mutations of one file that tests of one file must find.

  Args:
    file: Path of the source file below the root of the checkout.
    tests: Path of the test file.
    *faults: Name, old text, new text and names of tests, at least one. A name
      with a slash is a node id of its own.
  """
  return [
    Mutation(
      name,
      file,
      old,
      new,
      tuple(t if '/' in t else f'{tests}::{t}' for t in names),
    )
    for name, old, new, *names in faults
  ]
