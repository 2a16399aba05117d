"""Fixtures of commands; see `tests.cli.conftest`."""

from tests.cli.conftest import compiled_once, own_cache

__all__ = ['compiled_once', 'own_cache']
