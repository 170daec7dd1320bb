"""How large what is kept is, how it grew, and whether Redis will be full soon.

A sample is noted each time that retention is applied, once an hour, in a file of the home; of a week they are kept.
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
"""Samples that lie closer together say nothing of a day."""

_SOON_DAYS = 7.0


class Sample(msgspec.Struct, frozen=True):
    """Bytes by what they are of, at a time (UTC µs); `redis_most`: what Redis may use (0: it does not say)."""

    at_us: int
    bytes: dict[str, int]
    redis_most: int = 0


class Growing(NamedTuple):
    """What is kept, its bytes, and how many more there are after a day (None: not known yet)."""

    what: str
    bytes: int
    a_day: float | None


def measure(settings: Settings, client: Any) -> Sample:
    """Return how large things are now; Redis raises UnavailableError where it is away."""
    folders = {
        "models": settings.models,
        "mlflow": settings.mlflow,
        "output": settings.run,
        "broker": settings.broker,
        "store": settings.store,
    }
    shared = {"log": log_storage(settings), "predictions": predictions_storage(settings)}
    found = {what: storage.bytes() for what, storage in shared.items()}
    found |= {what: Folder(folder).bytes() for what, folder in folders.items()}
    nodes = capacities_of(client)
    if nodes:
        found["redis"] = sum(node.used for node in nodes)
    return Sample(wall_clock(), found, sum(node.bound for node in nodes))


def samples(settings: Settings) -> list[Sample]:
    """Return what was noted, oldest first; nothing where that cannot be read: it is only looked at."""
    try:
        return msgspec.json.decode(_place(settings).read_bytes(), type=list[Sample])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def note(settings: Settings, sample: Sample) -> None:
    """Add a sample, and forget those of more than a week ago."""
    kept = [one for one in samples(settings) if sample.at_us - _KEPT_US < one.at_us < sample.at_us]
    write_whole(_place(settings), msgspec.json.encode([*kept, sample]))


def growth(noted: Sequence[Sample]) -> list[Growing]:
    """Return what is kept as of the last sample, and its growth since that of a day before, or the first after it."""
    if not noted:
        return []
    last = noted[-1]
    before = next((one for one in noted if one.at_us >= last.at_us - DAY_US - HOUR_US), last)
    passed_us = last.at_us - before.at_us
    return [
        Growing(what, size, (size - before.bytes.get(what, 0)) * DAY_US / passed_us if passed_us >= _LEAST_US else None)
        for what, size in last.bytes.items()
    ]


def memory_problem(noted: Sequence[Sample]) -> str:
    """Return that Redis' memory will be full within a week as it grows now, and what to do; empty where it will not."""
    redis = next((one for one in growth(noted) if one.what == "redis"), None)
    most = noted[-1].redis_most if noted else 0
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
