"""Tasks that students are trained for: supervised losses and scores."""

from kdjax.tasks.base import Task
from kdjax.tasks.multi_label import MultiLabel
from kdjax.tasks.single_label import SingleLabel

__all__ = ['MultiLabel', 'SingleLabel', 'Task']
