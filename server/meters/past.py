"""History of a system's readings, which the monitor stores in the home every 15 s and keeps for eight days.

There is one file per UTC day, with one line of JSON per reading. A line cut off by a crash is skipped.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from data.clock import wall_clock
from data.errors import EncoreError
from data.units import DAY_US, from_micros
from events.kafka.inspector import Inspector
from server.jobs.status import Observer
from server.meters.readings import readings_of
from server.meters.system import SystemMeters
from server.settings import Settings

__all__ = ["EVERY_S", "Keeper", "Reading", "append_reading", "past_folder", "read_past"]

_log = logging.getLogger(__name__)

EVERY_S = 15.0
"""Interval of readings, s."""

_KEPT_DAYS = 8


class Reading(msgspec.Struct, frozen=True):
    """Values by name at one time (UTC µs)."""

    at_us: int
    values: dict[str, float]


def past_folder(settings: Settings) -> Path:
    """Return the folder of a home's readings."""
    return settings.quality / "past"


def append_reading(folder: Path, reading: Reading) -> None:
    """Append a reading, and delete files of days past the retention time."""
    folder.mkdir(parents=True, exist_ok=True)
    file = _file(folder, reading.at_us)
    is_new = not file.exists()
    with file.open("ab") as out:
        # Starts a new line, since a crash may have left an incomplete one.
        out.write(b"\n" + msgspec.json.encode(reading))
    if is_new:
        oldest = _file(folder, reading.at_us - _KEPT_DAYS * DAY_US).name
        for old in folder.glob("????-??-??.jsonl"):
            if old.name < oldest:
                old.unlink(missing_ok=True)


def read_past(folder: Path, since_us: int, until_us: int) -> list[Reading]:
    """Return the readings of `[since_us, until_us]`, oldest first; empty if there are none."""
    first, last = _file(folder, since_us).name, _file(folder, until_us).name
    readings = []
    for file in sorted(folder.glob("????-??-??.jsonl")):
        if first <= file.name <= last:
            readings += [reading for reading in _lines(file) if since_us <= reading.at_us <= until_us]
    return readings


def _lines(file: Path) -> Iterator[Reading]:
    decode = msgspec.json.Decoder(Reading).decode
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        if line:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                yield decode(line)


def _file(folder: Path, at_us: int) -> Path:
    return folder / f"{from_micros(at_us):%Y-%m-%d}.jsonl"


class Keeper:
    """Stores readings of a home at an interval."""

    def __init__(self, settings: Settings, system: SystemMeters, *, every_s: float = EVERY_S) -> None:
        self._settings = settings
        self._every_s = every_s
        self._due_s = time.monotonic()
        self._observer: Observer | None = None
        self._inspector: Inspector | None = None
        self._system = system

    def __call__(self) -> None:
        """Store a reading if one is due. Values of services that do not answer are left out."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + self._every_s
        if self._observer is None:
            self._observer = Observer(self._settings, kafka_wait_s=0.3)
        status = self._observer.look()
        values = readings_of(status, self._system.collect(), self._waiting())
        append_reading(past_folder(self._settings), Reading(wall_clock(), values))

    def close(self) -> None:
        """Close the connections."""
        for client in (self._observer, self._inspector):
            if client is not None:
                client.close()
        self._observer = self._inspector = None

    def _waiting(self) -> dict[str, float]:
        """Return the number of uncommitted messages of each consumer group, over all its topics."""
        if self._inspector is None:
            settings = self._settings
            self._inspector = Inspector(settings.kafka_servers, wait_s=0.3, access=settings.kafka_access)
        waiting: dict[str, float] = {}
        try:
            for group_lag in self._inspector.groups(self._inspector.partitions()):
                waiting[group_lag.group] = waiting.get(group_lag.group, 0.0) + group_lag.lag
        except EncoreError as error:
            _log.debug("no lag is noted: %s", error)
        return waiting
