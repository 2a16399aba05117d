"""Each module writes one JSON under `benchmarks/results/`."""
