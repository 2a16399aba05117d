"""Data next to the checkout that only developers and CI have."""

import pathlib

import pytest

SHARED = pathlib.Path(__file__).resolve().parents[2] / 'shared'

needs_shared = pytest.mark.skipif(
  not SHARED.is_dir(),
  reason='there are no shared data and golden files next to this checkout',
)
