"""Datasets that are read and decoded during training, by grain."""
