"""Sizes of the stored data, their growth, and whether Redis will be full soon.

A sample is recorded each time that retention is applied, once an hour, in a file of the home, and kept for eight days.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from data.atomic import write_whole
from data.clock import wall_clock
from data.filesystem.folder import Folder
from data.units import DAY_US, HOUR_US
from server.redis.capacity import capacities_of
from server.settings import Settings
from server.storage import log_storage, predictions_storage

__all__ = ["Growing", "Sample", "growth", "measure", "memory_problem", "note", "samples"]

_KEPT_US = 8 * DAY_US
_LEAST_US = HOUR_US
"""The shortest distance of samples, µs, from which the growth in a day is extrapolated."""

_SOON_DAYS = 7.0


class Sample(msgspec.Struct, frozen=True):
    """Bytes by kind of data, at a time (UTC µs); `redis_most`: the most bytes that Redis may use (0: unknown)."""

    at_us: int
    bytes: dict[str, int]
    redis_most: int = 0


class Growing(NamedTuple):
    """A kind of data, its bytes, and their growth in a day (None: not known yet)."""

    what: str
    bytes: int
    a_day: float | None


def measure(settings: Settings, client: Any) -> Sample:
    """Return the present sizes. Raises UnavailableError without Redis."""
    folders = {
        "models": settings.models,
        "mlflow": settings.mlflow,
        "output": settings.run,
        "broker": settings.broker,
        "store": settings.store,
    }
    shared = {"log": log_storage(settings), "predictions": predictions_storage(settings)}
    sizes = {what: storage.bytes() for what, storage in shared.items()}
    sizes |= {what: Folder(folder).bytes() for what, folder in folders.items()}
    nodes = capacities_of(client)
    if nodes:
        sizes["redis"] = sum(node.used for node in nodes)
    return Sample(wall_clock(), sizes, sum(node.bound for node in nodes))


def samples(settings: Settings) -> list[Sample]:
    """Return the recorded samples, oldest first; empty if they are unreadable, since they are only informative."""
    try:
        return msgspec.json.decode(_place(settings).read_bytes(), type=list[Sample])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def note(settings: Settings, sample: Sample) -> None:
    """Add a sample, and delete those of more than eight days before."""
    recent = [earlier for earlier in samples(settings) if sample.at_us - _KEPT_US < earlier.at_us < sample.at_us]
    write_whole(_place(settings), msgspec.json.encode([*recent, sample]))


def growth(recorded: Sequence[Sample]) -> list[Growing]:
    """Return the sizes of the last sample, and their growth since the sample of a day before, or the first after it."""
    if not recorded:
        return []
    last = recorded[-1]
    before = next((sample for sample in recorded if sample.at_us >= last.at_us - DAY_US - HOUR_US), last)
    passed_us = last.at_us - before.at_us
    return [
        Growing(what, size, (size - before.bytes.get(what, 0)) * DAY_US / passed_us if passed_us >= _LEAST_US else None)
        for what, size in last.bytes.items()
    ]


def memory_problem(recorded: Sequence[Sample]) -> str:
    """Return a warning if Redis' memory will be full within a week at its present growth; empty otherwise."""
    redis = next((growing for growing in growth(recorded) if growing.what == "redis"), None)
    most = recorded[-1].redis_most if recorded else 0
    if redis is None or not redis.a_day or redis.a_day <= 0 or not most:
        return ""
    days = (most - redis.bytes) / redis.a_day
    if days >= _SOON_DAYS:
        return ""
    return (
        f"Redis uses {redis.bytes / 2**20:,.0f} of {most / 2**20:,.0f} MB and grows by {redis.a_day / 2**20:,.0f} MB a "
        f"day: it is full in {max(0.0, days):.1f} days; give it more memory, or states a time to live "
        "(ENCORE_RETENTION=state:ENTITY=60d)"
    )


def _place(settings: Settings) -> Path:
    return settings.quality / "sizes.json"
