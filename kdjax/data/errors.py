"""Errors of unavailable datasets and damaged files."""

import os


class DataUnavailableError(ValueError):
  """A dataset can be neither read nor prepared; the message names ways out."""


def damaged(path: os.PathLike[str], reason: object) -> ValueError:
  """Returns the error to raise for a damaged file.

  Args:
    path: The file.
    reason: Description of the damage.
  """
  return ValueError(f'{path} is damaged ({reason}); delete it and run again.')


def not_prepared(
  name: str, data_dir: os.PathLike[str], error: Exception
) -> str:
  """Returns the first line of the message on a dataset that is unavailable.

  Args:
    name: TFDS's name of the dataset.
    data_dir: TFDS's folder of datasets.
    error: Exception of its preparation.
  """
  reason = (str(error) or type(error).__name__).splitlines()[0]
  return (
    f'the dataset {name} is not prepared in {data_dir} and could not be '
    f'downloaded and prepared there: {reason}'
  )
