"""The loop that PyTorch users write, for comparison: eager, no compilation."""

import torch
from torch.nn import functional

from benchmarks import torch_networks
from kdjax.methods import Kd
from kdjax.train import Recipe


class Loop:
  """A KD step after another on random batches that are already there.

  Args:
    teacher: A key of `torch_networks.NETWORKS`.
    student: Another.
    batch_size: Images of a step.
    fast: Channels last, and convolutions and products in bfloat16 by autocast;
      otherwise float32 in PyTorch's own order, as the field's codes are.
  """

  def __init__(
    self, teacher: str, student: str, batch_size: int, *, fast: bool = False
  ):
    self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    self.fast = fast
    torch.backends.cudnn.benchmark = True  # as the field's codes set it
    torch.manual_seed(0)
    order = torch.channels_last if fast else torch.contiguous_format

    def placed(made):
      return made.to(self.device, memory_format=order)

    self.teacher = placed(torch_networks.NETWORKS[teacher]()).eval()
    self.student = placed(torch_networks.NETWORKS[student]()).train()
    recipe, self.kd = Recipe(), Kd()
    self.optimizer = torch.optim.SGD(
      self.student.parameters(),
      lr=recipe.learning_rate,
      momentum=recipe.momentum,
      weight_decay=recipe.weight_decay,
    )
    self.images = placed(torch.randn(batch_size, 3, 32, 32))
    self.labels = torch.randint(0, 100, (batch_size,), device=self.device)

  def run(self, steps: int) -> None:
    """Does the steps and waits until they are done."""
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
        wanted = self.teacher(self.images)
      logits = self.student(self.images)
    logits, wanted = logits.float(), wanted.float()
    soft = functional.kl_div(
      functional.log_softmax(logits / kd.temperature, dim=1),
      functional.softmax(wanted / kd.temperature, dim=1),
      reduction='batchmean',
    )
    task = functional.cross_entropy(logits, self.labels)
    return kd.task_weight * task + kd.weight * kd.temperature**2 * soft
