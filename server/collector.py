"""Python's cycle collector in a process that lives long: a look through all that is loaded stops everything else."""

import gc

__all__ = ["settle_collector"]


def settle_collector() -> None:
    """Set what is loaded aside: it stays, and the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
