"""Reports of a study: one table, its plots and one HTML page, from its logs.

`write` writes the whole report, `table` returns the table for a terminal, and
`read_study` returns the logged numbers. To add a plot, add one entry to
`plots.PLOTS`.
"""

from kdjax.report.logs import Run, Study, read_study
from kdjax.report.page import write
from kdjax.report.tables import table

__all__ = ['Run', 'Study', 'read_study', 'table', 'write']
