"""What the networks of a study make of the evaluation images."""

import dataclasses
import io
import zipfile
import zlib

import numpy as np

from kdjax.report.logs import Run, Study


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features:
  """What one run's network makes of the evaluation images."""

  embedding: np.ndarray  # [N, D]
  labels: np.ndarray  # [N]
  before: np.ndarray | None  # [N, D], of a student before its first step


def read_features(run: Run) -> Features | None:
  """The features that a run left, or None; of one class per image.

  Raises:
    ValueError: If the file cannot be read, or is of another shape than
      embeddings `[N, D]` with labels `[N]`.
  """
  path = run.folder / 'features.npz'
  if not path.is_file():
    return None
  try:
    # From memory: of a torn file numpy would leave the handle open.
    content = io.BytesIO(path.read_bytes())
    with np.load(content, allow_pickle=False) as stored:
      arrays = {name: stored[name] for name in stored.files}
  except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as e:
    raise ValueError(f'{_name(run)} cannot be read ({e}).') from e
  if not {'embedding', 'labels'} <= arrays.keys():
    raise ValueError(
      f'{_name(run)} needs embedding and labels, has {sorted(arrays)}.'
    )
  if arrays['labels'].ndim > 1:
    return None  # several classes per image: no cloud has one colour
  features = Features(
    embedding=arrays['embedding'],
    labels=arrays['labels'],
    before=arrays.get('embedding_before'),
  )
  for cloud in (features.embedding, features.before):
    if cloud is not None:
      _check(run, cloud, features.labels)
  return features


def first_of_each_arm(study: Study) -> dict[str, Features]:
  """For each arm that has any, the features of its first seed that has them.

  Raises:
    ValueError: As `read_features`, or if the runs saw other images.
  """
  found, count = {}, None
  for arm, runs in study.arms.items():
    for run in runs:
      features = read_features(run)
      if features is None:
        continue
      count = count or len(features.labels)
      if len(features.labels) != count:
        raise ValueError(
          f'{_name(run)} is of {len(features.labels)} images, expected the '
          f'same {count} in all runs.'
        )
      found[arm] = features
      break
  return found


def _check(run, cloud, labels):
  if cloud.ndim != 2 or labels.shape != cloud.shape[:1] or not cloud.size:
    raise ValueError(
      f'{_name(run)}: expected embeddings [N, D] and labels [N], got '
      f'{cloud.shape} and {labels.shape}.'
    )
  if not np.isfinite(cloud).all():
    raise ValueError(f'{_name(run)} holds features that are not finite.')


def _name(run):
  return f'runs/{run.arm}/seed{run.seed}/features.npz'
