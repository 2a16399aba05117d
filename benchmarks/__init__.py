"""Each module writes one JSON under `results/benchmarks/`."""
