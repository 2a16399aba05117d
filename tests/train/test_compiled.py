"""The compiled program of the training loop.

On the CPU the compiled program is tested, for GPUs and TPUs the input of their
compilers.
"""

import functools
import re

import jax
import numpy as np
import pytest

from kdjax import data
from kdjax.models import linen_network
from kdjax.models.resnet import ResNet
from kdjax.runtime.mesh import first_devices
from kdjax.train import Frozen, Program, ResidentEpochs
from tests.train import support

pytestmark = pytest.mark.optimized

# Maps of at least 8 pixels: XLA swaps smaller maps with their kernels.
SHAPE = (16, 16, 3)
FORWARD = 'b01f_01io->b01f'
STEM, BLOCK, SHORTCUT = 1, 2, 1  # convolutions


def _network(name):
  module = ResNet(
    num_classes=support.CLASSES, blocks=(1, 1), widths=(4, 8), stem_width=4
  )
  return linen_network(module, name=name)


@functools.cache
def _traced(method):
  """Returns the loop, traced for any platform, and its carry."""
  made = support.parts(
    method, student=_network('student'), teacher=_network('teacher')
  )
  images = np.zeros((support.TRAIN, *SHAPE), np.uint8)
  labels = np.arange(support.TRAIN) % support.CLASSES
  train = data.from_arrays('toy', images, labels, images, labels).train
  program = Program(
    parts=made,
    devices=first_devices(1),
    train=train,
    batch_size=support.BATCH,
    num_classes=support.CLASSES,
  )
  epochs, key = ResidentEpochs(program), jax.random.key(0)
  assert made.teacher is not None
  teacher = made.teacher.initialize(key, SHAPE)
  frozen = Frozen(teacher=teacher)
  carry = epochs.first_carry(program.init_state(key, teacher), frozen)
  order = epochs.begin_epoch(key, 0)
  return epochs._advance.trace(
    carry, frozen, epochs.train_data, order, np.int32(1)
  ), carry


@functools.cache
def _compiled():
  traced, carry = _traced('kd')
  return traced.lower().compile(), carry


def _computations():
  """Returns the lines of each computation of the program, by name."""
  found, name = {}, ''
  for line in _compiled()[0].as_text().splitlines():
    head = re.match(r'(ENTRY )?%?([\w.\-]+) \(.*\{$', line)
    if head:
      name = 'ENTRY' if head[1] else head[2]
      found[name] = []
    elif line.startswith('  '):
      found[name].append(line)
  return found


def _all_lines(computations, name):
  """Returns all lines of a computation and of those that it calls."""
  lines = list(computations[name])
  for line in computations[name]:
    called = re.findall(
      r'(?:calls|to_apply|body|condition|\w+_computation)=%?([\w.\-]+)', line
    )
    several = re.search(r'branch_computations=\{([^}]*)\}', line)
    if several:
      called += re.findall(r'%?([\w.\-]+)', several[1])
    for inner in called:
      lines += _all_lines(computations, inner)
  return lines


def _loops_with_convolutions(computations, lines):
  bodies = [
    re.search(r'body=%?([\w.\-]+)', line)[1]
    for line in lines
    if ' while(' in line
  ]
  return [
    body
    for body in bodies
    if any(' convolution(' in line for line in _all_lines(computations, body))
  ]


@pytest.mark.slow
def test_dispatch_is_one_loop_over_steps():
  computations = _computations()
  whole = _all_lines(computations, 'ENTRY')
  (body,) = _loops_with_convolutions(computations, whole)
  (line,) = [x for x in computations['ENTRY'] if f'body=%{body},' in x]
  # The loop carries the complete state: no step waits for the host.
  leaves = jax.tree.leaves(_compiled()[1])
  assert line.count('f32[') + line.count('s32[') >= len(leaves)
  inside = _all_lines(computations, body)
  assert _loops_with_convolutions(computations, inside) == []
  # One step: two forward passes, gradients of kernels, and of images.
  passes = STEM + 2 * BLOCK + SHORTCUT
  count = sum(' convolution(' in line for line in inside)
  assert count == 4 * passes - STEM  # images have no gradient


@pytest.mark.slow
def test_carry_is_updated_in_place():
  compiled, carry = _compiled()
  leaves = jax.tree.leaves(carry)
  aliases = re.search(r'input_output_alias=\{(.*?) \}', compiled.as_text())[1]
  assert aliases.count('-alias)') == len(leaves)
  assert compiled.memory_analysis().alias_size_in_bytes == sum(
    leaf.nbytes for leaf in leaves
  )


@pytest.mark.slow
def test_only_kernel_gradients_are_transposed():
  text = _compiled()[0].as_text()
  assert set(re.findall(r'dim_labels=([\w>\-]+)', text)) == {FORWARD}
  turned = [
    line
    for line in text.splitlines()
    if re.search(r'= \w+\[\d+,\d+,\d+,\d+\]\S* transpose\(', line)
  ]
  assert turned
  for line in turned:
    name = re.search(r'op_name="([^"]*)"', line)[1]
    # Cropping transposes images, too, before the networks.
    if 'ResNet' in name:
      assert 'transpose(jvp(' in name
      assert re.search(r'conv\d?/', name)


@pytest.mark.slow
def test_compiled_program_does_not_call_the_host():
  text = _compiled()[0].as_text()
  for word in ('callback', 'infeed', 'outfeed', ' send(', ' recv(', 'xla_py'):
    assert word not in text
  assert not re.search(r'\b[fs]64\[[^\]]', text)
  targets = set(re.findall(r'custom_call_target="([^"]*)"', text))
  assert targets <= {'TopK'}


@pytest.mark.slow
@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
@pytest.mark.parametrize('method', ['kd', 'fcfd'])
def test_accelerator_programs_do_not_call_the_host(method, platform):
  lowered = _traced(method)[0].lower(lowering_platforms=(platform,))
  text = lowered.as_text()
  for word in ('callback', 'infeed', 'outfeed', 'stablehlo.send', 'f64'):
    assert word not in text
  # Gradients have the layouts of XLA, which its compilers optimize.
  assert set(re.findall(r'dim_numbers = (\[.*?\]->\[.*?\])', text)) == {
    '[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]',
    '[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f]',
    '[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]',
  }
  shape = r'tensor<\d+x\d+x\d+x\d+x'
  assert not re.search(rf'stablehlo\.transpose .*{shape}', text)
