"""Computations of one of several processes: `python -m tests.train.pod`."""

import dataclasses
import functools
import pathlib
import sys

import jax
import numpy as np

from kdjax.data import ColorJitter
from kdjax.runtime.mesh import Devices, all_devices
from kdjax.runtime.processes import start_processes
from kdjax.tasks import MultiLabel
from kdjax.train import Frozen, Program, StreamedEpochs
from tests.data import streams
from tests.train import support

BATCH, STEPS, TEST = 4, 2, 7


def whole_batch(devices: Devices):
  """Returns the carry after an epoch with losses of the whole batch."""
  made = support.epochs(support.parts('icd+kd2m'), devices)
  carry, frozen, key = support.start(made)
  return support.advance(made, carry, frozen, key, 3)


def streamed(devices: Devices):
  """Returns carry and evaluation of streamed data, and the decoded indices."""
  parts = dataclasses.replace(
    support.parts(),
    task=MultiLabel(),
    augment=ColorJitter(),
    steps_per_epoch=STEPS,
  )
  program = Program(
    parts=parts,
    devices=devices,
    train=streams.split(10, broken=(1, 6), broken_images='skip'),
    batch_size=BATCH,
    num_classes=len(streams.CLASSES),
  )
  made = StreamedEpochs(program)
  key, frozen = jax.random.key(0), Frozen(teacher={})
  carry = made.first_carry(program.init_state(key, {}), frozen)
  for stop in (1, STEPS):
    key = devices.replicate(key)
    carry = support.advance(made, carry, frozen, key, stop)
  made.close()
  asked: list[int] = []
  test = streams.split(TEST, broken=(3,), broken_images='skip')
  test = dataclasses.replace(
    test, files=streams.Noting(test.files.contents, asked)
  )
  evaluation = made.evaluator.evaluate(carry.state, frozen, test)
  return (carry, evaluation), sorted(asked)


def flat(tree) -> dict[str, np.ndarray]:
  """Returns the arrays of a tree by name."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(support.numbers(tree))
  return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


@functools.cache
def alone() -> dict[str, np.ndarray]:
  """Returns the results of one process with one device."""
  devices = support.first_devices(1)
  return flat((whole_batch(devices), streamed(devices)[0]))


def main(coordinator: str, count: str, number: str, folder: str) -> None:
  start_processes(coordinator, int(count), int(number))
  devices = all_devices()
  of_stream, asked = streamed(devices)
  rows = devices.rows(BATCH)
  mine = [i for i in range(TEST) if i % BATCH in rows]
  assert asked == mine, (asked, mine)
  np.savez(
    pathlib.Path(folder) / f'{number}.npz',
    **flat((whole_batch(devices), of_stream)),
  )


if __name__ == '__main__':
  main(*sys.argv[1:])
