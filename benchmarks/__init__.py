"""Benchmarks; each module writes one JSON file to `benchmarks/results/`."""
