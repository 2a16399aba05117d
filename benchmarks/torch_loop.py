"""Eager PyTorch training loop, for comparison."""

import torch
from torch.nn import functional

from benchmarks import torch_networks
from kdjax.methods import Kd
from kdjax.train import Recipe


class Loop:
  """KD steps on one random batch that is already on the device.

  Args:
    teacher: A key of `torch_networks.NETWORKS`.
    student: A key of `torch_networks.NETWORKS`.
    batch_size: Images per step.
    fast: Channels last, with convolutions and matrix products in bfloat16 by
      autocast; otherwise float32 with channels first, as in the field's code.
  """

  def __init__(
    self, teacher: str, student: str, batch_size: int, *, fast: bool = False
  ):
    self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    self.fast = fast
    torch.backends.cudnn.benchmark = True  # as in the field's code
    torch.manual_seed(0)
    memory_format = torch.channels_last if fast else torch.contiguous_format

    def to_device(value):
      return value.to(self.device, memory_format=memory_format)

    self.teacher = to_device(torch_networks.NETWORKS[teacher]()).eval()
    self.student = to_device(torch_networks.NETWORKS[student]()).train()
    recipe, self.kd = Recipe(), Kd()
    self.optimizer = torch.optim.SGD(
      self.student.parameters(),
      lr=recipe.learning_rate,
      momentum=recipe.momentum,
      weight_decay=recipe.weight_decay,
    )
    self.images = to_device(torch.randn(batch_size, 3, 32, 32))
    self.labels = torch.randint(0, 100, (batch_size,), device=self.device)

  def run(self, steps: int) -> None:
    """Trains a number of steps and waits for them."""
    for _ in range(steps):
      loss = self._loss()
      self.optimizer.zero_grad()
      loss.backward()
      self.optimizer.step()
    if self.device == 'cuda':
      torch.cuda.synchronize()

  def _loss(self):
    kd = self.kd
    with torch.autocast(self.device, torch.bfloat16, enabled=self.fast):
      with torch.no_grad():
        targets = self.teacher(self.images)
      logits = self.student(self.images)
    logits, targets = logits.float(), targets.float()
    soft = functional.kl_div(
      functional.log_softmax(logits / kd.temperature, dim=1),
      functional.softmax(targets / kd.temperature, dim=1),
      reduction='batchmean',
    )
    task = functional.cross_entropy(logits, self.labels)
    return kd.task_weight * task + kd.weight * kd.temperature**2 * soft
