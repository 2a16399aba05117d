"""No distillation: the task's own loss, for teachers and for the comparison."""

import dataclasses
from typing import ClassVar

from kdjax.methods.base import Method, Updates


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervised(Method):
  """Only the supervised loss; takes no teacher."""

  needs_teacher: ClassVar[bool] = False

  def terms(self, variables, student, teacher, batch, context):
    """No terms besides the task's."""
    del variables, student, teacher, batch, context
    return {}, Updates()
