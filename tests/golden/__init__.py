"""Numbers made by the papers' own code, compared with kdjax's functions.

`python -m tests.golden FOLDER` runs every case of every kind it knows; the
tests run the same code on the values committed under `values/`.
"""
