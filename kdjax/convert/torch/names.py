"""Names of each network's layers in PyTorch code.

A rule is a path in the Flax tree and the name of the same layer in PyTorch. In
both, `{s}` stands for an integer, which the PyTorch name may scale and shift:
`{s*3+1}`. The name of an array is that of its layer, a dot and `weight` or the
like; after a trailing underscore there is no dot. The first matching rule
applies. Rules are in the order in which the PyTorch module defines its layers;
consecutive rules with the same placeholders form one loop over their integers.
"""

Rules = tuple[tuple[str, str], ...]


def _under(path: str, name: str, layers: dict[str, str]) -> Rules:
  """Rules of several layers with a common path and a common name."""
  return tuple((f'{path}/{ours}', f'{name}.{layers[ours]}') for ours in layers)


_STEM: Rules = (('stage_0/conv', 'conv1'), ('stage_0/norm', 'bn1'))
_CONV_NORM = {
  'conv1': 'conv1',
  'norm1': 'bn1',
  'conv2': 'conv2',
  'norm2': 'bn2',
  'conv3': 'conv3',
  'norm3': 'bn3',
}
_NORM_CONV = {
  'norm1': 'bn1',
  'conv1': 'conv1',
  'norm2': 'bn2',
  'conv2': 'conv2',
  'shortcut_conv': 'convShortcut',
}


def _resnet(shortcut: str, head: str) -> Rules:
  """Rules of a residual network with these shortcut and classifier names."""
  layers = {
    **_CONV_NORM,
    'shortcut_conv': f'{shortcut}.0',
    'shortcut_norm': f'{shortcut}.1',
  }
  return (
    *_STEM,
    *_under('stage_{s}/block_{b}', 'layer{s}.{b}', layers),
    ('head', head),
  )


# RepDistiller's and mdistiller's names of the CIFAR networks; torchvision's of
# the ImageNet ones.
RESNET = _resnet('downsample', 'fc')
RESNET_50 = _resnet('shortcut', 'linear')
WRN: Rules = (
  ('stage_0/conv', 'conv1'),
  *_under('stage_{s}/block_{b}', 'block{s}.layer.{b}', _NORM_CONV),
  ('stage_3/norm', 'bn1'),
  ('head', 'fc'),
)
VGG: Rules = (
  ('stage_{s}/conv_{i}', 'block{s}.{i*3}'),
  ('stage_{s}/norm_{i}', 'block{s}.{i*3+1}'),
  ('head', 'classifier'),
)
MOBILENET_V2: Rules = (
  ('stage_0/conv', 'conv1.0'),
  ('stage_0/norm', 'conv1.1'),
  *_under(
    'stage_{s}/group_{g}_{b}',
    'blocks.{g}.{b}.conv',
    {
      'conv1': '0',
      'norm1': '1',
      'conv2': '3',
      'norm2': '4',
      'conv3': '6',
      'norm3': '7',
    },
  ),
  ('stage_4/conv', 'conv2.0'),
  ('stage_4/norm', 'conv2.1'),
  ('head', 'classifier.0'),
)
SHUFFLE: Rules = (
  *_STEM,
  *_under(
    'stage_{s}/block_{b}',
    'layer{s}.{b}',
    {
      **_CONV_NORM,
      'conv4': 'conv4',
      'norm4': 'bn4',
      'conv5': 'conv5',
      'norm5': 'bn5',
    },
  ),
  ('stage_3/conv', 'conv2'),
  ('stage_3/norm', 'bn2'),
  ('head', 'linear'),
)
# The ImageNet MobileNetV1 of the distillation papers.
MOBILENET_V1: Rules = (
  ('stage_0/conv', 'model.0.0'),
  ('stage_0/norm', 'model.0.1'),
  *_under(
    'stage_{s}/block_{b}',
    'model.{b}',
    {'conv1': '0', 'norm1': '1', 'conv2': '3', 'norm2': '4'},
  ),
  ('head', 'fc'),
)
# torchvision numbers the blocks through all stages; the first block, without
# expansion, has one convolution less.
TORCHVISION_MOBILENET_V2: Rules = (
  ('stage_0/conv', 'features.0.0'),
  ('stage_0/norm', 'features.0.1'),
  *_under(
    'stage_1/group_0_0',
    'features.1.conv',
    {'conv2': '0.0', 'norm2': '0.1', 'conv3': '1', 'norm3': '2'},
  ),
  *(
    rule
    for group, first in ((1, 2), (2, 4), (3, 7), (4, 11), (5, 14), (6, 17))
    for rule in _under(
      f'stage_{{s}}/group_{group}_{{b}}',
      f'features.{{b+{first}}}.conv',
      {
        'conv1': '0.0',
        'norm1': '0.1',
        'conv2': '1.0',
        'norm2': '1.1',
        'conv3': '2',
        'norm3': '3',
      },
    )
  ),
  ('stage_4/conv', 'features.18.0'),
  ('stage_4/norm', 'features.18.1'),
  ('head', 'classifier.1'),
)
# timm.
VIT: Rules = (
  ('stage_0/cls_token', 'cls_token'),
  ('stage_0/pos_embed', 'pos_embed'),
  ('stage_0/conv', 'patch_embed.proj'),
  *_under(
    'stage_{s}/block_{b}',
    'blocks.{b}',
    {
      'norm1': 'norm1',
      'qkv': 'attn.qkv',
      'proj': 'attn.proj',
      'norm2': 'norm2',
      'fc1': 'mlp.fc1',
      'fc2': 'mlp.fc2',
    },
  ),
  ('stage_4/norm', 'norm'),
  ('head', 'head'),
)
TIMM_MOBILENET_V2: Rules = (
  ('stage_0/conv', 'conv_stem'),
  ('stage_0/norm', 'bn1'),
  *_under(
    'stage_1/group_0_0',
    'blocks.0.0',
    {'conv2': 'conv_dw', 'norm2': 'bn1', 'conv3': 'conv_pw', 'norm3': 'bn2'},
  ),
  *_under(
    'stage_{s}/group_{g}_{b}',
    'blocks.{g}.{b}',
    {
      'conv1': 'conv_pw',
      'norm1': 'bn1',
      'conv2': 'conv_dw',
      'norm2': 'bn2',
      'conv3': 'conv_pwl',
      'norm3': 'bn3',
    },
  ),
  ('stage_4/conv', 'conv_head'),
  ('stage_4/norm', 'bn2'),
  ('head', 'classifier'),
)


def _torchvision_vit(fc1: str, fc2: str) -> Rules:
  return (
    ('stage_0/cls_token', 'class_token'),
    ('stage_0/conv', 'conv_proj'),
    ('stage_0/pos_embed', 'encoder.pos_embedding'),
    *_under(
      'stage_{s}/block_{b}',
      'encoder.layers.encoder_layer_{b}',
      {
        'norm1': 'ln_1',
        'qkv': 'self_attention.in_proj_',
        'proj': 'self_attention.out_proj',
        'norm2': 'ln_2',
        'fc1': f'mlp.{fc1}',
        'fc2': f'mlp.{fc2}',
      },
    ),
    ('stage_4/norm', 'encoder.ln'),
    ('head', 'heads.head'),
  )


# Networks of this library only, with names that PyTorch code might use.
CONVNET: Rules = (
  ('stage_{s}/conv_{i}', 'stage{s}.conv{i}'),
  ('stage_{s}/norm_{i}', 'stage{s}.bn{i}'),
  ('head', 'fc'),
)

# By prefix of a network's name; the longest matching prefix applies.
FAMILIES: dict[str, Rules] = {
  'convnet_': CONVNET,
  'resnet': RESNET,
  'ResNet50': RESNET_50,
  'cifar10_resnet': RESNET_50,
  'cifar100_resnet': RESNET_50,
  'imagenet_resnet': RESNET,
  'wrn_': WRN,
  'vgg': VGG,
  'MobileNetV2': MOBILENET_V2,
  'ShuffleV': SHUFFLE,
  'imagenet_mobilenet_v1': MOBILENET_V1,
  'imagenet_mobilenet_v2': TORCHVISION_MOBILENET_V2,
  'vit_': VIT,
}

# Names in other libraries, by prefix of a network's name.
LIBRARIES: dict[str, dict[str, Rules]] = {
  'imagenet_resnet': {'torchvision': RESNET, 'timm': RESNET},
  'imagenet_mobilenet_v2': {
    'torchvision': TORCHVISION_MOBILENET_V2,
    'timm': TIMM_MOBILENET_V2,
  },
  'vit_': {
    'timm': VIT,
    # Names of its current modules, and names in its published files.
    'torchvision': _torchvision_vit('0', '3'),
    'torchvision_1': _torchvision_vit('linear_1', 'linear_2'),
  },
}


def all_rules_of(network: str) -> tuple[Rules, ...]:
  """Returns the rules of a network's family and of other libraries.

  Args:
    network: Name of the network.

  Returns:
    The rules of its family first.

  Raises:
    ValueError: If no family has a network of that name.
  """
  own = rules_of(network)
  others = _libraries_of(network).values()
  return (own, *(rules for rules in others if rules is not own))


def _libraries_of(network: str) -> dict[str, Rules]:
  for prefix, libraries in LIBRARIES.items():
    if network.startswith(prefix):
      return libraries
  return {}


def rules_of(network: str, library: str | None = None) -> Rules:
  """Returns the rules of a network's family.

  Args:
    network: Name of the network.
    library: A library of `LIBRARIES` (`None`: the most common PyTorch code of
      the family).

  Raises:
    ValueError: If no family has a network of that name, or the library has no
      such network.
  """
  if library is not None:
    known = _libraries_of(network)
    if library not in known:
      raise ValueError(
        f'No names of {library} are known for {network!r}; known are those of '
        f'{", ".join(known) or "no library"}.'
      )
    return known[library]
  families = [prefix for prefix in FAMILIES if network.startswith(prefix)]
  if not families:
    raise ValueError(
      f'No PyTorch names are known for {network!r}; the known families are '
      f'{", ".join(FAMILIES)}.'
    )
  return FAMILIES[max(families, key=len)]
