"""One module per kind of golden file, each with `check(path)`."""
