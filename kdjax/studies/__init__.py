"""Studies: several runs of one command in one work folder.

`Comparison` trains a teacher, the student alone and its distilled versions;
`Transfer` fits linear probes; `Timing` times training steps.
"""

from kdjax.studies.comparison import Comparison
from kdjax.studies.config import StudyConfig
from kdjax.studies.session import Session, Study
from kdjax.studies.timing import Timing
from kdjax.studies.transfer import Transfer, TransferConfig

__all__ = [
  'Comparison',
  'Session',
  'Study',
  'StudyConfig',
  'Timing',
  'Transfer',
  'TransferConfig',
]
