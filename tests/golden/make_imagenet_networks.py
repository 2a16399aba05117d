"""Makes the goldens of ImageNet networks, ViTs and their images.

    python -m tests.golden.make_imagenet_networks

writes `values/imagenet_networks/NAME.npz`, one per network, and
`values/preprocessing/torchvision.npz`. It needs torch and torchvision, and
imports nothing of kdjax: the networks are torchvision's, except MobileNetV1,
which torchvision lacks and which is written here as the published distillation
code for ImageNet has it. Weights and images are formulas of their names
(`tests.golden.hashed`), so that only results are stored. Everything is float64,
in evaluation mode, on images of 64 pixels.

Stored of each stage and of the embedding: mean, root mean square and a
projection; and the logits. Feature maps are in the order [N, C, H, W]; stages
are those of the distillation papers' tables, after the activation.
"""

import pathlib

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import models, transforms

from tests.golden import hashed

VALUES = pathlib.Path(__file__).parent / 'values'
CLASSES, COUNT, SIZE, PATCH = 10, 2, 64, 16


def resnet(constructor) -> tuple[nn.Module, list[nn.Module], nn.Module]:
  """Returns a ResNet, the modules whose outputs are stages, and the pooling."""
  net = constructor(num_classes=CLASSES)
  stages = [net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]
  return net, stages, net.avgpool


def mobilenet_v1() -> tuple[nn.Module, list[nn.Module], nn.Module]:
  """Returns MobileNetV1; see `resnet`."""

  def stem(inputs, outputs, strides):
    return nn.Sequential(
      nn.Conv2d(inputs, outputs, 3, strides, 1, bias=False),
      nn.BatchNorm2d(outputs),
      nn.ReLU(),
    )

  def separable(inputs, outputs, strides):
    return nn.Sequential(
      nn.Conv2d(inputs, inputs, 3, strides, 1, groups=inputs, bias=False),
      nn.BatchNorm2d(inputs),
      nn.ReLU(),
      nn.Conv2d(inputs, outputs, 1, bias=False),
      nn.BatchNorm2d(outputs),
      nn.ReLU(),
    )

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.model = nn.Sequential(
        stem(3, 32, 2),
        separable(32, 64, 1),
        separable(64, 128, 2),
        separable(128, 128, 1),
        separable(128, 256, 2),
        separable(256, 256, 1),
        separable(256, 512, 2),
        *(separable(512, 512, 1) for _ in range(5)),
        separable(512, 1024, 2),
        separable(1024, 1024, 1),
      )
      self.pool = nn.AdaptiveAvgPool2d(1)
      self.fc = nn.Linear(1024, CLASSES)

    def forward(self, x):
      return self.fc(self.pool(self.model(x)).flatten(1))

  net = Net()
  return net, [net.model[i] for i in (0, 3, 5, 11, 13)], net.pool


def mobilenet_v2() -> tuple[nn.Module, list[nn.Module], nn.Module]:
  """Returns MobileNetV2; its embedding is the classifier's input."""
  net = models.mobilenet_v2(num_classes=CLASSES)
  stages = [net.features[i] for i in (0, 3, 6, 13, 17)]
  return net, stages, net.classifier[0]


def vit(width: int, heads: int):
  """Returns a ViT of 12 blocks on patches of 16 pixels."""
  net = models.VisionTransformer(
    image_size=SIZE,
    patch_size=PATCH,
    num_layers=12,
    num_heads=heads,
    hidden_dim=width,
    mlp_dim=4 * width,
    num_classes=CLASSES,
  )
  blocks = net.encoder.layers
  # The dropout does nothing, but its output is the tokens with positions.
  stages = [net.encoder.dropout, blocks[2], blocks[5], blocks[8]]
  return net, [*stages, net.encoder.ln], net.encoder.ln


NETWORKS = {
  'imagenet_resnet18': lambda: resnet(models.resnet18),
  'imagenet_resnet34': lambda: resnet(models.resnet34),
  'imagenet_resnet50': lambda: resnet(models.resnet50),
  'imagenet_resnet101': lambda: resnet(models.resnet101),
  'imagenet_mobilenet_v1': mobilenet_v1,
  'imagenet_mobilenet_v2': mobilenet_v2,
  'vit_tiny_patch16': lambda: vit(192, 3),
  'vit_small_patch16': lambda: vit(384, 6),
  'vit_base_patch16': lambda: vit(768, 12),
}


def run(name: str) -> dict[str, np.ndarray]:
  """Returns what is stored of a network."""
  net, stages, embedding = NETWORKS[name]()
  net = net.double().eval()
  # The state dict shares its memory with the network.
  for key, value in net.state_dict().items():
    if value.dtype == torch.float64:
      value.copy_(torch.from_numpy(hashed.weight(key, tuple(value.shape))))
  outputs = {}

  def keep(key: str):
    def hook(module, inputs, output):
      outputs[key] = output.detach().numpy()

    return hook

  for index, stage in enumerate(stages):
    stage.register_forward_hook(keep(f'stage_{index}'))
  embedding.register_forward_hook(keep('embedding'))
  with torch.no_grad():
    images = torch.from_numpy(hashed.images(COUNT, SIZE)).double()
    logits = net(images).numpy()
  if name.startswith('vit'):
    outputs = {key: of_tokens(key, x) for key, x in outputs.items()}
  outputs['embedding'] = outputs['embedding'].reshape(COUNT, -1)
  return {
    'num_params': np.array(sum(p.numel() for p in net.parameters())),
    **{key: hashed.summary(x, key) for key, x in outputs.items()},
    'logits': logits,
  }


def of_tokens(key: str, tokens: np.ndarray) -> np.ndarray:
  """Returns the class token, or the others as a feature map [N, C, h, w]."""
  if key == 'embedding':
    return tokens[:, 0]
  side = SIZE // PATCH
  maps = tokens[:, 1:].transpose(0, 2, 1)
  return maps.reshape(COUNT, -1, side, side)


# Width and height, window and length of the shorter side: some with half a
# pixel between, to even above and below, some whose longer side is truncated.
CROPS = (
  (500, 375, 224, 256),
  (375, 500, 224, 256),
  (640, 427, 224, 256),
  (321, 256, 224, 256),
  (256, 319, 224, 256),
  (97, 61, 28, 32),
  (61, 97, 28, 32),
  (40, 40, 28, 32),
  (30, 20, 63, 72),
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def crop(width: int, height: int, size: int, shorter: int) -> np.ndarray:
  """Returns torchvision's evaluation view of an image, [size, size, 3]."""
  view = transforms.Compose(
    [transforms.Resize(shorter), transforms.CenterCrop(size)]
  )
  return np.asarray(view(Image.fromarray(hashed.photograph(width, height))))


def preprocessing() -> dict[str, np.ndarray]:
  """Returns evaluation views of some images, and one normalized."""
  normalize = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
  )
  results = {'crops': np.array(CROPS)}
  for index, case in enumerate(CROPS):
    view = crop(*case)
    results[f'crop_{index}'] = hashed.summary(view, 'crop')
    results[f'corners_{index}'] = view[:: len(view) - 1, :: len(view) - 1]
  view = Image.fromarray(crop(*CROPS[5]))
  results['normalized'] = hashed.summary(normalize(view).numpy(), 'normalized')
  return results


def main() -> None:
  """Writes all files."""
  print('torch', torch.__version__, 'torchvision', torchvision.__version__)
  files = {f'imagenet_networks/{name}': run(name) for name in NETWORKS}
  files['preprocessing/torchvision'] = preprocessing()
  for name, arrays in files.items():
    path = VALUES / f'{name}.npz'
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)
    print(path.relative_to(VALUES), path.stat().st_size, 'bytes')


if __name__ == '__main__':
  main()
