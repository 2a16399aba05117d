"""One module per kind of golden; each has `check(path) -> list[Comparison]`."""
