"""Synthetic work folders, as the commands write them, without training."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

CLASSES = 10
IMAGES = 400


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
  """One arm of a synthetic study: its final accuracies and its logs."""

  accuracies: Sequence[float]  # after the last epoch, by seed
  epochs: int = 20
  width: int = 16  # of its embeddings
  nearness: float = 0.0  # of its embeddings to the teacher's, in [0, 1]
  curve: bool = True  # whether it logs its epochs
  bound: bool = False  # whether it logs both sides of KD²M's theorem
  function: bool = False  # whether it logs what FCFD measures


ARMS = {
  'teacher': Arm(accuracies=(0.98,), width=16),
  'student': Arm(accuracies=(0.84, 0.86, 0.85), nearness=0.2),
  'kd': Arm(accuracies=(0.92, 0.93, 0.94), nearness=0.4),
  'kd2m': Arm(
    accuracies=(0.87, 0.90, 0.90), nearness=0.9, bound=True, function=True
  ),
}


def write_study(
  folder: pathlib.Path, arms: Mapping[str, Arm] = ARMS, *, features: bool = True
) -> pathlib.Path:
  """Writes the runs of some arms, with deterministic numbers."""
  config = {
    'command': 'experiments.digits',
    'arguments': ['--method=kd2m'],
    'config': {'student': 'resnet8', 'note': 'a < b & "c"'},
    'versions': {'jax': '0.10.2'},
  }
  write_json(folder / 'config.json', config)
  for name, arm in arms.items():
    for seed, accuracy in enumerate(arm.accuracies):
      run = folder / 'runs' / name / f'seed{seed}'
      teacher = name == 'teacher'
      role = name if name in ('teacher', 'student') else 'distilled'
      network = 'convnet_32_64' if teacher else 'convnet_4_8'
      write_json(
        run / 'config.json',
        {'arm': name, 'role': role, 'seed': seed, 'network': network},
      )
      write_lines(run, run_lines(arm, accuracy, seed, teacher=teacher))
      if features:
        write_features(run, arm, seed, teacher=teacher)
  return folder


def run_lines(arm: Arm, accuracy: float, seed: int, *, teacher: bool):
  """Returns the lines of a finished run, with plausible learning curves."""
  lines = []
  rng = np.random.default_rng(seed)
  if arm.bound:
    lines.append(
      {'kind': 'bound', 'epoch': 0, 'step': 0, **inequality(0, seed)}
    )
  for epoch in range(1, arm.epochs + 1) if arm.curve else ():
    done = 1 - np.exp(-5 * epoch / arm.epochs)
    noise = 0.02 * rng.normal() * (1 - epoch / arm.epochs)
    task = float(2.3 * (1 - done) + 0.5 * (1 - accuracy))
    where = {'epoch': epoch, 'step': 16 * epoch}
    if arm.bound:
      lines.append({'kind': 'bound', **where, **inequality(epoch, seed)})
    if arm.function:
      lines += function_lines(epoch, 1 / epoch)
    lines.append(
      {'kind': 'train', **where, 'loss': task + 0.3, 'terms': {'task': task}}
    )
    score = float(accuracy * done / (1 - np.exp(-5)) + noise)
    lines.append(
      {
        'kind': 'eval',
        **where,
        'split': 'test',
        'accuracy': score,
        'loss': task * (1 + abs(noise)),
      }
    )
  end = {
    'kind': 'end',
    'epoch': arm.epochs,
    'step': 16 * arm.epochs,
    'accuracy': accuracy,
    'best_accuracy': accuracy + 0.01,
    'parameters': 272474 if teacher else 78042,
    'forward_flops': 8.2e7 if teacher else 2.55e7,
    'seconds': 12.5,
    'images_per_second': 4000.0,
  }
  return [*lines, end]


def function_lines(epoch: int, scale: float) -> list[dict]:
  """Returns FCFD's lines for three stages with increasing gaps."""
  where = {'epoch': epoch, 'step': epoch}
  gap = {
    f'stage_{i}.{name}': scale * (epoch + i)
    for i in (1, 2, 3)
    for name in ('appearance', 'function')
  }
  bars = {
    f'stage_{i}.{name}': 10.0**power
    for i in (1, 2, 3)
    for name, power in (('random', -4), ('student', -2), ('steepest', 1))
  }
  return [
    {'kind': 'function_gap', **where, **gap},
    {'kind': 'anisotropy', **where, **bars},
  ]


def inequality(epoch: int, seed: int) -> dict[str, float]:
  """Returns decreasing quantities that satisfy the theorem's inequality."""
  distance = 8 / (1 + epoch) + 0.5 * seed
  return {
    'paired': 1.1 * distance,
    'w2': distance,
    'risk_gap': 0.01 * distance,
    'risk_student': 0.3,
    'risk_teacher': 0.3 - 0.02 * distance,
    'lipschitz': 2.0,
  }


def write_features(
  run: pathlib.Path, arm: Arm, seed: int, *, teacher: bool
) -> None:
  """Writes ten Gaussian clusters; the student's move towards the teacher's."""
  rng = np.random.default_rng(7)
  labels = np.arange(IMAGES) % CLASSES
  goal = 4 * rng.normal(size=(CLASSES, 16))[labels]
  goal += rng.normal(size=goal.shape)
  rng = np.random.default_rng(100 + seed)
  start = rng.normal(size=(IMAGES, arm.width)) + 1
  if teacher:
    np.savez(run / 'features.npz', embedding=np.float32(goal), labels=labels)
    return
  own = 3 * rng.normal(size=(CLASSES, arm.width))[labels]
  own += rng.normal(size=own.shape)
  image = goal @ np.linalg.qr(rng.normal(size=(16, 16)))[0][:, : arm.width]
  image = goal if arm.width == 16 else image
  after = arm.nearness * image + (1 - arm.nearness) * own
  np.savez(
    run / 'features.npz',
    embedding=np.float32(after),
    labels=labels,
    embedding_before=np.float32(start),
  )


def write_json(path: pathlib.Path, content) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content))


def write_lines(run: pathlib.Path, lines) -> None:
  run.mkdir(parents=True, exist_ok=True)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (run / 'metrics.jsonl').write_text(text)
