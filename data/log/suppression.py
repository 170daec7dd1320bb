"""Forgotten people, whose events are refused for a while: a list beside the log, as digests.

    root/suppressed.json    {"salt": "5f0c…", "revision": 2, "people": {"user_id": {"9b1e…": 1790000000000000}}}

For each key, the digests of values and the time (UTC µs) until which arriving events are refused. A digest is made with
a salt that only the list has; the list contains no ids. An entry stays after its time: what had arrived before is
refused however late it is read, so that reading a topic again brings nobody back. Workers watch the file, and report in
their heartbeats the revision that they apply.
"""

import secrets
import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from data.atomic import write_whole
from data.errors import DataError
from data.event import Event
from data.filesystem.storage import Mark, Storage
from data.log.person import Person

__all__ = ["Suppression"]

_NAME = "suppressed.json"
_DIGEST = 16

_REMEMBERED = 65_536
"""How many answers are cached: a digest takes as long as decoding an event."""


class _List(msgspec.Struct, frozen=True):
    """The list as it is stored."""

    salt: str
    revision: int = 0
    people: dict[str, dict[str, int]] = {}


class Suppression:
    """The list beside the log in a place; None: in memory. Constructing it writes nothing; it is false if empty.

    Answers are by the list as of the last `look`.
    """

    def __init__(self, place: Storage | None) -> None:
        self._place = place
        self._mark: Mark | None = None
        self._again_s = 0.0
        self._list = _List(secrets.token_hex(_DIGEST))
        self._salt = b""
        self._until: dict[str, dict[bytes, int]] = {}
        self._end_of = self._finder()
        self.look()

    def __bool__(self) -> bool:
        return bool(self._until)

    @property
    def revision(self) -> int:
        """How often the list was added to."""
        return self._list.revision

    def look(self, *, now: bool = False) -> bool:
        """Read the list where it has changed; return whether it has. It costs one look at a file's times.

        Unless `now`, a recent look is enough where one costs a request. Raises DataError where the list cannot be read,
        since whom to refuse is unknown then.
        """
        place = self._place
        if place is None or (not now and place.is_remote and time.monotonic() < self._again_s):
            return False
        mark = place.mark(_NAME)
        self._again_s = time.monotonic() + place.look_every_s
        if mark is None or mark == self._mark:
            return False
        self._take(self._read(place.local(_NAME)))
        self._mark = mark
        return True

    def add(self, person: Person, until_us: int) -> int:
        """Refuse what arrives of a person until a time, or until a later one set before; return the new revision."""
        if self._place is None:
            return self._add(person, until_us)
        with self._place.lock(f".{_NAME}.lock"):
            self.look(now=True)
            revision = self._add(person, until_us)
            self._place.put(_NAME, lambda path: write_whole(path, msgspec.json.encode(self._list)))
        return revision

    def digest(self, person: Person) -> str:
        """Return a person's digest in this list, in hexadecimal; after `add`."""
        return self._digest(*person).hex()

    def refuses(self, key: str, value: str, arrived_us: int | None) -> bool:
        """Return whether what arrived at a time (None: unknown) is of a person to be refused."""
        end_us = self._end_of(key, value)
        return end_us is not None and (arrived_us is None or arrived_us < end_us)

    def refuses_event(self, event: Event, arrived_us: int | None) -> bool:
        """Return whether an event is of a person to be refused."""
        for key in self._until:
            value = getattr(event, key, None)
            if value is not None and self.refuses(key, value, arrived_us):
                return True
        return False

    def without(self, table: pa.Table) -> pa.Table:
        """Return the rows of a table of events that are not refused, by time of arrival or, if absent, of the event."""
        for key, until in self._until.items():
            if key not in table.column_names:
                continue
            values = table.column(key)
            for value in pc.unique(values).drop_null().to_pylist():
                end_us = until.get(self._digest(key, value))
                if end_us is not None:
                    refused = pc.and_(pc.equal(table.column(key), value), pc.less(_arrived(table), end_us))
                    table = table.filter(pc.invert(refused))
        return table

    def _add(self, person: Person, until_us: int) -> int:
        people = {key: dict(digests) for key, digests in self._list.people.items()}
        digests = people.setdefault(person.key, {})
        self._take(self._list)  # for the salt
        name = self.digest(person)
        digests[name] = max(until_us, digests.get(name, 0))
        self._take(_List(self._list.salt, self._list.revision + 1, people))
        return self.revision

    def _finder(self) -> Callable[[str, str], int | None]:
        """Return a cached function of a key and a value: until when it is refused, by the list as it is now."""
        until = self._until

        @lru_cache(_REMEMBERED)
        def end_of(key: str, value: str) -> int | None:
            return until[key].get(self._digest(key, value)) if key in until else None

        return end_of

    def _take(self, stored: _List) -> None:
        self._list = stored
        self._salt = bytes.fromhex(stored.salt)
        self._until = {
            key: {bytes.fromhex(digest): until_us for digest, until_us in digests.items()}
            for key, digests in stored.people.items()
            if digests
        }
        self._end_of = self._finder()

    def _digest(self, key: str, value: str) -> bytes:
        return blake2b(f"{key}={value}".encode(), key=self._salt, digest_size=_DIGEST).digest()

    @staticmethod
    def _read(path: Path) -> _List:
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=_List)
            for digest in (stored.salt, *(digest for digests in stored.people.values() for digest in digests)):
                bytes.fromhex(digest)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DataError(
                f"event log: {path} cannot be read ({error}); restore it from a copy: it says whose events are refused"
            ) from error
        return stored


def _arrived(table: pa.Table) -> Any:
    """Return when each row's event arrived or, where that is unknown, happened, in µs."""
    happened = table.column("timestamp").cast(pa.int64())
    if "arrived" not in table.column_names:
        return happened
    return pc.coalesce(table.column("arrived").cast(pa.int64()), happened)
