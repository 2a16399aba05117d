"""Devices, processes, signals, files and checkpoints; knows no network."""
