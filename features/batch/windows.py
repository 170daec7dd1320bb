"""Windows of whole tiles, in Ibis."""

from typing import Any

from features.plan.plan import Window

__all__ = ["start_of"]


def start_of(time_us: Any, window: Window) -> Any:
    """Return when the oldest tile in the window at a time begins. No division: Ibis divides integers as floats."""
    return (time_us - time_us % window.hop_us - (window.tiles - 1) * window.hop_us).cast("int64")
