"""Deliberate faults in the library, each with the tests that must find it.

`python -m tests.mutation` applies one fault at a time to a copy of the package
and runs the tests that are named with it. The result is kept in
`benchmarks/results/mutation.json`.
"""
