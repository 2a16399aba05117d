"""Data sets that are read and decoded while training, by grain."""
