"""Seeded generators of input that no command may take."""

import contextlib
import functools
import importlib
import io
import json
import os
import pathlib
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator

import jax
import numpy as np
import safetensors.numpy
from PIL import Image

from kdjax import models
from kdjax.cli.usage_errors import flags_in_help
from kdjax.runtime.checkpoints import save_variables
from kdjax.runtime.named_arrays import leaves_by_name
from tests.fuzz.case import Case, Setup, mutated

# Ends a command after its dataset is read: no such batch is possible.
_STOP = '--batch_size=1000000'
_SMALL = ('--method=none', '--student=convnet_4_8', '--teacher=convnet_8_16')
# The last flag of each command, which ends it where the other flag is right.
_MISSING = {
  **dict.fromkeys(
    ('cifar', 'compare', 'digits', 'kd2m'), '--dataset=npz:missing.npz'
  ),
  'imagenet': '--dataset=folder:missing',
  'multilabel': '--dataset=coco:missing',
  'transfer': '--run=missing',
  'export': '--run=missing',
  'teachers': '--checkpoint=missing',
}
_VALUES = (
  *('', 'nan', 'inf', '-inf', '1e309', '-1', '1e20', '9' * 25, '9' * 5000),
  *('abc', '[1,2]', '{}', 'None', 'True', '../..', '/', '/dev/null', '~nobody'),
  *('gs://', 'foo://bar', '--', '=', ',', '0,,1', 'ü', os.fsdecode(b'\xff')),
  *('x' * 300, 'a/' * 3000, '$x_{$', '<b>', '\n', ' ', '0x10', '1_0'),
)
_EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print showpage\n'


class Canary:
  """Makes a folder outside of the case when it is unpickled."""

  def __reduce__(self):
    return os.mkdir, ('../outside/canary',)


def flags(draw: random.Random) -> Case:
  """A flag with a value that few flags can have, or a misspelled flag."""
  module = draw.choice(list(_MISSING))
  name, value = draw.choice(_flags_of(module)), draw.choice(_VALUES)
  if draw.random() < 0.2:
    place = draw.randrange(len(name))
    name = name[:place] + draw.choice('xq_-.') + name[place + 1 :]
  if draw.random() < 0.2:
    changes = draw.choice(('kd.weight', 'fcfd.directions', 'lshfm.hashes'))
    if module == 'compare':
      name, value = draw.choice(('changes', 'sweep')), f'{changes}={value}'
  subcommand = ('evaluate',) if module == 'teachers' else ()
  argv = (*subcommand, f'--{name}={value}', _MISSING[module])
  return Case(f'--{name}={value:.20}', f'experiments.{module}', argv)


@functools.cache
def _flags_of(module: str) -> list[str]:
  """Returns the names of a command's flags, read from its help."""
  command = importlib.import_module(f'experiments.{module}')
  said = io.StringIO()
  with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
    if hasattr(command, 'COMMAND'):
      command.COMMAND.main(['--help'])
    else:
      command.main(['evaluate'] * (module == 'teachers') + ['--help'])
  return [flag for flag in flags_in_help(said.getvalue()) if flag != 'help']


def _arrays(draw: random.Random) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(draw.randrange(2**32))
  return {
    'x_train': rng.integers(0, 256, (24, 4, 4, 1), dtype=np.uint8),
    'y_train': (np.arange(24) % 3).astype(np.int32),
    'x_test': rng.integers(0, 256, (15, 4, 4, 1), dtype=np.uint8),
    'y_test': (np.arange(15) % 3).astype(np.int32),
  }


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
  file = io.BytesIO()
  np.savez(file, allow_pickle=True, **arrays)
  return file.getvalue()


def _write(name: str, content: bytes) -> Setup:
  def setup(folder: pathlib.Path) -> None:
    (folder / name).write_bytes(content)

  return setup


def sets(draw: random.Random) -> Case:
  """A dataset of arrays with a wrong array, or damaged bytes."""
  arrays = _arrays(draw)
  name, change = draw.choice(list(arrays)), draw.randrange(9)
  array = arrays[name]
  if change == 0:
    del arrays[name]
  elif change == 1:
    arrays[name] = array[..., None, None]
  elif change == 2:
    arrays[name] = array.astype(draw.choice(('f4', 'i8', 'U5', 'c16', 'M8[s]')))
  elif change == 3:
    arrays[name] = np.array(draw.choice((0, 1e30, 'x')))
  elif change == 4:
    arrays[name] = array[:0]
  elif change == 5:
    arrays[name] = np.array([{}], object)
  elif change == 6:
    arrays['y_train'][0] = draw.choice((-1, 10**6, 2**31 - 1))
  content = _npz(arrays)
  if change > 6:
    content = mutated(draw, content)
  argv = (*_SMALL, '--dataset=npz:set.npz', _STOP)
  return Case(
    f'set {change}', 'experiments.cifar', argv, _write('set.npz', content)
  )


def _png(draw: random.Random) -> bytes:
  file = io.BytesIO()
  mode, size = draw.choice(('L', 'RGB', 'P', '1', 'I;16')), (5, 4)
  Image.new(mode, size).save(file, 'png')
  return file.getvalue()


def images(draw: random.Random) -> Case:
  """A folder of images, one of which is none, or no file at all."""
  own = random.Random(draw.getrandbits(64))
  kind, good = draw.randrange(8), _png(draw)
  bad = {0: _EPS, 1: b'', 2: good[:30], 3: b'not an image', 4: _huge_png()}
  content = bad.get(kind, mutated(draw, good))

  def setup(folder: pathlib.Path) -> None:
    for split in ('train', 'test'):
      for label in ('a', 'b'):
        (folder / 'set' / split / label).mkdir(parents=True)
        (folder / 'set' / split / label / '0.png').write_bytes(good)
    path = folder / 'set' / own.choice(('train', 'test')) / 'a' / '1.png'
    if kind == 5:
      os.mkfifo(path)
    elif kind == 6:
      path.symlink_to(own.choice(('/dev/zero', 'missing', '.', path.name)))
    else:
      path.write_bytes(content)

  argv = (*_SMALL, '--dataset=folder:set', _STOP)
  return Case(f'image {kind}', 'experiments.cifar', argv, setup)


def _huge_png() -> bytes:
  """A header that declares a square of 10^5 pixels."""
  file = io.BytesIO()
  Image.new('L', (1, 1)).save(file, 'png')
  data = bytearray(file.getvalue())
  data[16:24] = (10**5).to_bytes(4, 'big') * 2
  return bytes(data)


def _weights() -> dict[str, np.ndarray]:
  return leaves_by_name(_variables())


def _variables():
  spec = models.create('convnet_4_8', num_classes=3).describe((4, 4, 1))
  return jax.tree.map(lambda x: np.ones(x.shape, x.dtype), spec.variables)


def checkpoints(draw: random.Random) -> Case:
  """A file or folder of weights that is damaged or would run code."""
  own = random.Random(draw.getrandbits(64))
  kind, arrays = draw.randrange(8), _weights()
  content: dict[int, Callable[[], bytes]] = {
    0: lambda: safetensors.numpy.save(arrays),
    1: lambda: _npz(arrays),
    2: lambda: pickle.dumps({'a': Canary()}, draw.randrange(6)),
    3: lambda: _torch_like(pickle.dumps({'a': Canary()}, 2)),
    4: lambda: pickle.dumps({k: [1.0] for k in arrays}, 2),
    5: lambda: draw.randbytes(draw.randrange(1, 500)),
  }
  test = _write('set.npz', _npz(_arrays(draw)))

  def setup(folder: pathlib.Path) -> None:
    test(folder)
    path = folder / 'weights'
    if kind in content:
      made = content[kind]()
      path.write_bytes(mutated(own, made) if kind in (0, 1, 4) else made)
      return
    if kind == 7:
      path.symlink_to(own.choice(('/dev/zero', '/dev/full', 'pipe', '.')))
      os.mkfifo(folder / 'pipe')
      return
    save_variables(path, _variables())
    files = sorted(inner for inner in path.rglob('*') if inner.is_file())
    victim = own.choice(files)
    victim.write_bytes(mutated(own, victim.read_bytes()))

  argv = ('evaluate', '--checkpoint=weights', '--network=convnet_4_8')
  return Case(
    f'checkpoint {kind}',
    'experiments.teachers',
    (*argv, '--dataset=npz:set.npz'),
    setup,
    # A flipped bit of a float is another float, where there is no checksum.
    harmless=kind in (0, 1, 6),
  )


def _torch_like(content: bytes) -> bytes:
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('archive/data.pkl', content)
    archive.writestr('archive/version', '3')
  return file.getvalue()


def archives(draw: random.Random) -> Case:
  """An archive with hostile members, as a dataset or as weights."""
  kind, file = draw.randrange(6), io.BytesIO()
  method = zipfile.ZIP_DEFLATED if kind == 1 else zipfile.ZIP_STORED
  with zipfile.ZipFile(file, 'w', method) as archive:
    for name, array in _arrays(draw).items():
      member = io.BytesIO()
      np.save(member, array)
      content = member.getvalue()
      if kind == 1:
        content += bytes(50_000_000)
      if kind == 2:
        content = content.replace(b'(24,', b'(%d,' % 10**14)
      prefix = {3: '../outside/', 4: '/'}.get(kind, '')
      archive.writestr(f'{prefix}{name}.npy', content)
  data = bytearray(file.getvalue())
  if kind in (0, 5):
    # In the central directory: encrypted, or compressed in an unknown way.
    entry = data.index(b'PK\x01\x02')
    data[entry + (8 if kind == 0 else 10)] = 1 if kind == 0 else 99
  setup = _write('set.npz', bytes(data))
  if draw.random() < 0.5:
    argv = ('evaluate', '--checkpoint=set.npz', '--network=convnet_4_8')
    return Case(
      f'archive {kind}',
      'experiments.teachers',
      (*argv, '--dataset=digits'),
      setup,
    )
  argv = (*_SMALL, '--dataset=npz:set.npz', _STOP)
  return Case(f'archive {kind}', 'experiments.cifar', argv, setup)


def configs(draw: random.Random) -> Case:
  """A run whose configuration or log was edited."""
  own = random.Random(draw.getrandbits(64))
  about = {
    'network': 'convnet_4_8',
    'num_classes': 3,
    'image_shape': [4, 4, 1],
    'mean': [0.5],
    'std': [0.2],
    'precision': 'float32',
    'arm': 'kd',
    'seed': 0,
    'role': 'distilled',
    'method': {'type': 'Kd', 'weight': 1.0},
  }
  lines = [
    json.dumps({'kind': kind, 'epoch': e, 'step': e, 'accuracy': 0.5})
    for e in range(1, 5)
    for kind in ('train', 'eval')
  ]
  log = '\n'.join(lines).encode()
  wrong = draw.choice((0, -1, [], {}, '', None, 10**12, [0], 'x', True, 1e400))
  name = draw.choice(list(about))
  text = json.dumps({**about, name: wrong}).encode()
  edited = draw.random()
  if edited < 0.3:
    text = mutated(draw, text)
  elif edited < 0.6:
    log, text = mutated(draw, log), json.dumps(about).encode()

  def setup(folder: pathlib.Path) -> None:
    run = folder / 'w' / 'runs' / 'kd' / 'seed0'
    run.mkdir(parents=True)
    (run / 'config.json').write_bytes(text)
    (run / 'metrics.jsonl').write_bytes(log)
    if own.random() < 0.5:
      (folder / 'w' / 'config.json').write_bytes(text)
    if own.random() < 0.5:
      save_variables(run / 'student', _variables())

  command, *argv = draw.choice(
    (
      ('experiments.export', '--run=w/runs/kd/seed0', '--output=out'),
      ('experiments.transfer', '--run=w', '--dataset=digits', _STOP),
      ('kdjax.report.__main__', 'w'),
      (
        'experiments.teachers',
        'evaluate',
        '--checkpoint=w/runs/kd/seed0',
        '--dataset=digits',
      ),
    )
  )
  harmless = command in ('experiments.export', 'kdjax.report.__main__')
  return Case(f'{command} {name}', command, tuple(argv), setup, harmless)


GENERATORS = {
  'flags': flags,
  'sets': sets,
  'images': images,
  'checkpoints': checkpoints,
  'archives': archives,
  'configs': configs,
}


def generate(seed: int, count: int) -> Iterator[tuple[str, Case]]:
  """Yields cases of all generators in turn, with the generator's name."""
  draws = {name: random.Random(f'{seed} {name}') for name in GENERATORS}
  names = list(GENERATORS)
  for index in range(count):
    name = names[index % len(names)]
    yield name, GENERATORS[name](draws[name])
