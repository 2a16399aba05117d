"""What PyTorch code calls the layers of each network here, as data.

A rule pairs a path in the Flax tree with the name of the same layer in PyTorch.
`{s}` matches a whole number; in the PyTorch name it may be scaled and shifted:
`{s*3+1}`. A dot and `weight` or the like follow the name, unless it ends in an
underscore. The first rule that matches holds. Rules stand in the order in which
the PyTorch module defines its layers; neighbouring rules with the same numbers
are one loop over those.
"""

Rules = tuple[tuple[str, str], ...]


def _under(path: str, name: str, layers: dict[str, str]) -> Rules:
  """The same layers below a path and below a name."""
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
  """A residual network whose shortcuts and classifier are called so."""
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
# torchvision. There the blocks are numbered through, and the first one, which
# does not expand, is a convolution shorter.
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


# Ours alone; named as a plain PyTorch module would be.
CONVNET: Rules = (
  ('stage_{s}/conv_{i}', 'stage{s}.conv{i}'),
  ('stage_{s}/norm_{i}', 'stage{s}.bn{i}'),
  ('head', 'fc'),
)

# By the beginning of a network's name; the longest that fits holds.
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

# What each library calls the layers of the same networks.
LIBRARIES: dict[str, dict[str, Rules]] = {
  'imagenet_resnet': {'torchvision': RESNET, 'timm': RESNET},
  'imagenet_mobilenet_v2': {
    'torchvision': TORCHVISION_MOBILENET_V2,
    'timm': TIMM_MOBILENET_V2,
  },
  'vit_': {
    'timm': VIT,
    # As its modules are called now, and as its published files call them.
    'torchvision': _torchvision_vit('0', '3'),
    'torchvision_1': _torchvision_vit('linear_1', 'linear_2'),
  },
}


def all_rules_of(network: str) -> tuple[Rules, ...]:
  """The rules of a network's family, then those of other libraries for it.

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
  """The rules of a network's family.

  Args:
    network: Its name.
    library: Whose names, of `LIBRARIES`; without, those by which PyTorch code
      knows the family best.

  Raises:
    ValueError: If no family has a network of that name, or the library has no
      such network.
  """
  if library is not None:
    known = _libraries_of(network)
    if library not in known:
      raise ValueError(
        f'No names of {library} are known for {network!r}, but those of '
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
