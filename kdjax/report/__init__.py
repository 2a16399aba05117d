"""What a study found: one table, its plots and one HTML page, from its logs.

`write` makes everything, `table` is what a terminal shows, `read_study` is for
those who want the numbers. A picture of your own is one line in `plots.PLOTS`.
"""

from kdjax.report.logs import Run, Study, read_study
from kdjax.report.page import write
from kdjax.report.tables import table

__all__ = ['Run', 'Study', 'read_study', 'table', 'write']
