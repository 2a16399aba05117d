"""Types that every package shares."""

from collections.abc import Mapping
from typing import Any

import jax

# A tree of arrays: nested dicts, tuples and registered dataclasses.
PyTree = Any
# A batch by column: `image`, `label` (a tree), `index` int32 `[B]`, and more.
Batch = Mapping[str, Any]
# Weighted scalars by name, whose sum is minimized.
Terms = dict[str, jax.Array]
# `{'params': trained, 'state': carried along}` of a method.
Variables = dict[str, PyTree]
