"""Supervised training, for teachers and for students without distillation."""

import dataclasses
from typing import ClassVar

from kdjax.methods.base import Context, Method, Updates
from kdjax.methods.passes import Pass
from kdjax.typing import Batch, Terms, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervised(Method):
  """Training by the task loss alone, without a teacher."""

  needs_teacher: ClassVar[bool] = False

  def terms(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    batch: Batch,
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Returns no terms; see `Method.terms`."""
    del variables, student, teacher, batch, context
    return {}, Updates()
