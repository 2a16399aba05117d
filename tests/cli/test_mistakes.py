"""Messages of commands about wrong flags, datasets and checkpoints."""

import numpy as np
import pytest

from tests.experiments import commands
from tests.train import support


def test_unknown_method_suggests_the_nearest_name(fails):
  status, said = fails('--method=kd2n')
  assert status == 2
  assert "Unknown method 'kd2n'; did you mean 'kd2m'" in said


@pytest.mark.parametrize(
  ('name', 'why'),
  [('kd+', "Unknown method ''"), ('kd+kd', 'different'), ('none+kd', 'none')],
)
def test_invalid_combination_of_methods_is_rejected(fails, name, why):
  status, said = fails(f'--method={name}')
  assert status == 2
  assert why in said


def test_unknown_network_suggests_the_nearest_name(fails, toy, tmp_path):
  status, said = fails(toy, '--student=resnet_8', f'--workdir={tmp_path}/w')
  assert status == 2
  assert "Unknown network 'resnet_8'; did you mean" in said
  assert "'resnet8'" in said


def test_unknown_dataset_suggests_the_nearest_name(fails, tmp_path):
  status, said = fails('--dataset=cifar1000', f'--workdir={tmp_path}/w')
  assert status == 2
  assert 'cifar1000' in said
  assert "did you mean 'cifar100'" in said


@pytest.mark.parametrize(
  ('flag', 'why'),
  [
    ('--method.weight=-1', 'weight of Kd2m must be zero or more, got -1.0'),
    ('--method.weight=nan', 'weight of Kd2m must be a finite number, got nan'),
    ('--method.metric=w3', "'w3'; did you mean 'w2'"),
    ('--epochs=0', 'epochs must be at least 1, got 0'),
    ('--batch_size=0', 'batch_size must be at least 1, got 0'),
    ('--limit=0', 'limit is training images per class, at least 1, got 0'),
    ('--teacher_limit=-2', 'teacher_limit is training images per class'),
    ('--decay_at=150,180,210', 'shares of all epochs, from 0 to 1, got 150'),
    ('--checkpoint_every=0', 'checkpoint_every must be at least 1, got 0'),
    ('--seeds=0,0', 'seeds must be different'),
    ('--seeds=-1', 'seeds must be zero or more'),
    ('--seeds=4294967296', 'below 2**32, got (4294967296,)'),
    ('--seeds=', '--seeds'),
    ('--teacher_epochs=0', 'teacher_epochs must be at least 1'),
    ('--precision=float16', 'float16'),
    ('--together=vmap', 'vmap'),
    ('--teacher_table=host', 'host'),
    ('--epoch=3', '--epochs'),
    ('--resume', '--resume needs a work folder: give --workdir=FOLDER'),
    ('--num_processes=2', '--coordinator=HOST:PORT or --distributed'),
  ],
)
def test_invalid_flag_value_is_named_in_the_error(fails, flag, why):
  status, said = fails('--method=kd2m', flag)
  assert status == 2
  assert why in ' '.join(said.replace('│', ' ').split())


def test_different_widths_require_a_projection(fails, toy, tmp_path):
  status, said = fails(
    toy,
    '--method=kd2m',
    '--student=convnet_4_8',
    '--teacher=convnet_8_16',
    '--batch_size=8',
    f'--workdir={tmp_path}/w',
  )
  assert status == 2
  assert 'convnet_4_8 has 8 and convnet_8_16 has 16' in said
  assert '--method.projection=linear' in said
  assert not (tmp_path / 'w' / 'runs').exists()  # found before any training


def test_images_too_small_for_the_network_are_rejected(fails, toy, tmp_path):
  status, said = fails(
    toy, *commands.SMALL, '--student=vgg8', f'--workdir={tmp_path}/w'
  )
  assert status == 2
  assert 'vgg8 cannot process images of 4 by 4 pixels' in said
  assert not (tmp_path / 'w' / 'runs').exists()


def test_batch_larger_than_the_dataset_is_rejected(fails, toy, tmp_path):
  status, said = fails(
    toy, *commands.SMALL, '--batch_size=25', f'--workdir={tmp_path}/w'
  )
  assert status == 2
  assert 'batch of 25 is larger than the training set of 24' in said
  assert '--batch_size=24' in said
  assert not (tmp_path / 'w' / 'runs').exists()


def test_batch_larger_than_the_limited_student_data_is_rejected(
  fails, toy, tmp_path
):
  status, said = fails(
    toy,
    *commands.SMALL,
    '--limit=1',
    '--teacher_limit=8',
    f'--workdir={tmp_path}/w',
  )
  assert status == 2
  assert 'batch of 8 is larger than the training set of 3' in said
  assert not (tmp_path / 'w' / 'runs').exists()  # no teacher was trained


IMAGES, LABELS = support.arrays(24, 1)


@pytest.mark.parametrize(
  ('changes', 'why'),
  [
    ({'y_train': LABELS - 1}, 'labels must be class indices from 0, got -1'),
    ({'y_test': np.full(15, 7)}, 'test labels must be in [0, 2]'),
    ({'y_train': LABELS[:-1]}, '24 images but 23 labels'),
    ({'y_train': LABELS * 1.0}, 'labels must be int32'),
    ({'x_train': IMAGES / 255}, 'images must be uint8'),
    ({'x_train': IMAGES[..., [0, 0]]}, 'with 1 or 3 channels'),
    ({'x_test': np.zeros((15, 5, 4, 1), np.uint8)}, 'test images (5, 4, 1)'),
    ({'x_train': IMAGES[:0], 'y_train': LABELS[:0]}, 'there are no images'),
  ],
)
def test_invalid_images_or_labels_are_rejected(fails, tmp_path, changes, why):
  name = commands.write_npz(tmp_path / 'data', **changes)
  status, said = fails(f'--dataset={name}', f'--workdir={tmp_path}/w')
  assert status == 2
  assert why in said
  assert name in said


def test_unavailable_dataset_error_lists_the_alternatives(
  fails, tmp_path, monkeypatch
):
  for proxy in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.setenv(proxy, 'http://127.0.0.1:9')  # nobody listens there
  status, said = fails(
    '--dataset=cifar10',
    f'--data_dir={tmp_path}/nowhere',
    f'--workdir={tmp_path}/w',
  )
  assert status == 2
  assert 'the dataset cifar10 is not prepared in' in said
  assert f'{tmp_path}/nowhere' in said
  assert '--data_dir=FOLDER' in said
  assert '--dataset=npz:FILE or --dataset=folder:FOLDER' in said


@pytest.mark.parametrize('what', ['missing', 'empty', 'file'])
def test_invalid_teacher_checkpoint_path_is_named(fails, toy, tmp_path, what):
  path = tmp_path / 'teacher'
  if what == 'empty':
    path.mkdir()
  elif what == 'file':
    path.write_text('no checkpoint')
  status, said = fails(
    toy,
    *commands.SMALL,
    f'--teacher_checkpoint={path}',
    f'--workdir={tmp_path}/w',
  )
  assert status == 2
  assert str(path) in said
