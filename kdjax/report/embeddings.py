"""Reader of the embeddings that the runs of a study have stored."""

import dataclasses
import io

import numpy as np

from kdjax.report.logs import Run, Study
from kdjax.runtime import npz
from kdjax.runtime.files import is_regular_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features:
  """Embeddings of the evaluation images by one run's network.

  Attributes:
    embedding: `[N, D]`, of the trained network.
    labels: `[N]`, one class per image.
    before: `[N, D]`, of a student before its first step; None if not stored.
  """

  embedding: np.ndarray
  labels: np.ndarray
  before: np.ndarray | None


def read_features(run: Run) -> Features | None:
  """Reads the embeddings that a run has stored.

  Args:
    run: The run, whose folder may contain `features.npz`.

  Returns:
    The embeddings, or None if the file does not exist or if images have
    several classes.

  Raises:
    ValueError: If the file cannot be read, if embeddings and labels are not
      `[N, D]` and `[N]`, or if an embedding is not finite.
  """
  path = run.folder / 'features.npz'
  if not path.exists():
    return None
  if not is_regular_file(path):
    raise ValueError(f'{_file_name(run)} is not a regular file.')
  try:
    content = io.BytesIO(path.read_bytes())
    arrays = npz.read_arrays(content)
  except (OSError, ValueError) as e:
    raise ValueError(f'{_file_name(run)} cannot be read ({e}).') from e
  if not {'embedding', 'labels'} <= arrays.keys():
    raise ValueError(
      f'{_file_name(run)} needs embedding and labels, has {sorted(arrays)}.'
    )
  if arrays['labels'].ndim > 1:
    return None  # several classes per image: points have no single color
  features = Features(
    embedding=arrays['embedding'],
    labels=arrays['labels'],
    before=arrays.get('embedding_before'),
  )
  for embedding in (features.embedding, features.before):
    if embedding is not None:
      _check(run, embedding, features.labels)
  return features


def first_of_each_arm(study: Study) -> dict[str, Features]:
  """Returns the embeddings of each arm's first seed that has them.

  Args:
    study: The study; arms without embeddings are omitted.

  Returns:
    The embeddings by arm, in the study's order.

  Raises:
    ValueError: As `read_features`, or if the runs have different numbers of
      images.
  """
  by_arm, count = {}, None
  for arm, runs in study.arms.items():
    for run in runs:
      features = read_features(run)
      if features is None:
        continue
      count = count or len(features.labels)
      if len(features.labels) != count:
        raise ValueError(
          f'{_file_name(run)} has {len(features.labels)} images, expected the '
          f'same {count} in all runs.'
        )
      by_arm[arm] = features
      break
  return by_arm


def _check(run: Run, embedding: np.ndarray, labels: np.ndarray) -> None:
  shapes_fit = embedding.ndim == 2 and labels.shape == embedding.shape[:1]
  if not shapes_fit or not embedding.size:
    raise ValueError(
      f'{_file_name(run)}: expected embeddings [N, D] and labels [N], got '
      f'{embedding.shape} and {labels.shape}.'
    )
  if not np.isfinite(embedding).all():
    raise ValueError(f'{_file_name(run)} holds features that are not finite.')


def _file_name(run: Run) -> str:
  return f'runs/{run.arm}/seed{run.seed}/features.npz'
