"""Sizes that do not fit this machine, refused before a teacher is trained."""

import pytest

from experiments import cifar, compare, imagenet
from kdjax.runtime.mesh import all_devices
from kdjax.studies import sizes
from tests.experiments import commands


def test_more_steps_than_can_be_counted():
  sizes.check_steps(10**6, 2000)
  with pytest.raises(ValueError, match='more steps than the 2147483647'):
    sizes.check_steps(10**6, 3000)


def test_images_that_fit_no_memory():
  sizes.check_batch(all_devices(), (224, 224, 3), 8)
  with pytest.raises(ValueError, match=r'batch of 8 images .* needs at least'):
    sizes.check_batch(all_devices(), (10**5, 10**5, 3), 8)


def test_a_sharded_teacher_needs_a_part_of_the_memory_of_a_device(monkeypatch):
  devices = all_devices(fsdp=8)
  monkeypatch.setattr(type(devices), 'memory_bytes', lambda self: 10**6)
  sizes._check(devices, 'x', batch=8 * 10**5, frozen=7 * 10**6)
  with pytest.raises(ValueError, match='x needs at least'):
    sizes._check(devices, 'x', batch=8 * 10**5, frozen=8 * 10**6)
  with pytest.raises(ValueError, match='x needs at least'):
    sizes._check(devices, 'x', batch=0, trained=4 * 10**5)


@pytest.fixture
def untrained(tmp_path, capsys):
  """Runs a command that must fail before its teacher is trained."""

  def run(command, *flags):
    status = command.main([*flags, f'--workdir={tmp_path}/w'])
    said = capsys.readouterr().err
    assert status == 2, said
    assert 'starts' not in said
    assert not (tmp_path / 'w').exists()
    return said.strip().splitlines()[-1]

  return run


def test_more_hashes_than_memory(untrained, tmp_path):
  data = commands.write_npz(tmp_path / 'data')
  small = [flag for flag in commands.SMALL if 'method' not in flag]
  said = untrained(
    compare.COMMAND,
    *small,
    '--methods=lshfm',
    '--changes=lshfm.hashes=100000000000',
    f'--dataset={data}',
  )
  assert said.startswith('error: ')
  assert 'hashes' in said or 'GiB of memory' in said


def test_more_epochs_than_can_be_counted(untrained, tmp_path):
  data = commands.write_npz(tmp_path / 'data')
  said = untrained(
    cifar.COMMAND, *commands.SMALL, f'--dataset={data}', '--epochs=2000000000'
  )
  assert 'more steps than the 2147483647 that can be counted' in said


@pytest.mark.parametrize('size', [10**5, 10**9])
def test_images_larger_than_memory(untrained, size):
  said = untrained(
    imagenet.COMMAND, '--data=synthetic', f'--image_size={size}', '--method=kd'
  )
  assert 'GiB of memory' in said
