"""Python's cycle collector in a long-lived process, where a full collection stops everything else."""

import gc

__all__ = ["settle_collector"]

_ALLOCATIONS = 50_000
"""Allocations between collections, some megabytes; Python's default of 700 is reached after a few answers."""


def settle_collector() -> None:
    """Exclude the loaded objects from collection, and collect the rest rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])
