"""Python's cycle collector in a process that lives long: a look through all that is loaded stops everything else."""

import gc

__all__ = ["settle_collector"]

_ALLOCATIONS = 50_000
"""New objects that may wait for a look, some megabytes; Python's own 700 are there again after a few answers."""


def settle_collector() -> None:
    """Set what is loaded aside: it stays, and is not looked through again and again. Look through the rest seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])
