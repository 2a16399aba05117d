"""Golden values of the papers' own code, compared with kdjax's functions.

`python -m tests.golden FOLDER` checks all files of the known kinds; the tests
check the values committed under `values/` with the same code.
"""
