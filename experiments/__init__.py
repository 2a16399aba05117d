"""One thin module per command: `python -m experiments.digits --help`."""
