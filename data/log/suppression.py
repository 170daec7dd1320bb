"""People who were forgotten, and whose events are refused for a while: a list beside the log, in digests.

    root/suppressed.json    {"salt": "5f0c…", "revision": 2, "people": {"user_id": {"9b1e…": 1790000000000000}}}

Of each key the digests of values, and the time (UTC µs) until which what arrives is refused. A digest is made with a
salt that the list alone has; no id is in it. An entry stays when its time is over: what had arrived before is refused
however late it is read, so that a topic that is read again brings nobody back. Workers look at the file, and say in
their heartbeats which revision they refuse by.
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
"""Values of which the answer is remembered: a digest takes as long as decoding an event."""


class _List(msgspec.Struct, frozen=True):
    """As it is stored."""

    salt: str
    revision: int = 0
    people: dict[str, dict[str, int]] = {}


class Suppression:
    """The list beside the log in a place; None: in memory. Making it writes nothing; false where it is empty.

    What it answers is by the list as of the last `look`.
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
        """Read the list where it has changed; return whether it has. One look at a file's times.

        Unless `now`, a look of a moment ago is enough where one costs a request. Raises DataError where the list cannot
        be read: then nobody knows whom to refuse.
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
        """Refuse what arrives of a person until then, or longer where it was so; return the new revision."""
        if self._place is None:
            return self._add(person, until_us)
        with self._place.lock(f".{_NAME}.lock"):
            self.look(now=True)
            revision = self._add(person, until_us)
            self._place.put(_NAME, lambda path: write_whole(path, msgspec.json.encode(self._list)))
        return revision

    def digest(self, person: Person) -> str:
        """Return what stands for a person here, in hexadecimal; after `add`."""
        return self._digest(*person).hex()

    def refuses(self, key: str, value: str, arrived_us: int | None) -> bool:
        """Return whether what arrived at that time (None: nobody knows when) is of a person to be refused."""
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
        """Return the rows of a table of events that are not refused, by when they arrived or, else, happened."""
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
        people = {key: dict(of_key) for key, of_key in self._list.people.items()}
        of_key = people.setdefault(person.key, {})
        self._take(self._list)  # for the salt
        name = self.digest(person)
        of_key[name] = max(until_us, of_key.get(name, 0))
        self._take(_List(self._list.salt, self._list.revision + 1, people))
        return self.revision

    def _finder(self) -> Callable[[str, str], int | None]:
        """Return what finds, and remembers, until when a value of a key is refused, by the list as it is now."""
        until = self._until

        @lru_cache(_REMEMBERED)
        def end_of(key: str, value: str) -> int | None:
            return until[key].get(self._digest(key, value)) if key in until else None

        return end_of

    def _take(self, found: _List) -> None:
        self._list = found
        self._salt = bytes.fromhex(found.salt)
        self._until = {
            key: {bytes.fromhex(digest): until_us for digest, until_us in of_key.items()}
            for key, of_key in found.people.items()
            if of_key
        }
        self._end_of = self._finder()

    def _digest(self, key: str, value: str) -> bytes:
        return blake2b(f"{key}={value}".encode(), key=self._salt, digest_size=_DIGEST).digest()

    @staticmethod
    def _read(path: Path) -> _List:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_List)
            for digest in (found.salt, *(one for of_key in found.people.values() for one in of_key)):
                bytes.fromhex(digest)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DataError(
                f"event log: {path} cannot be read ({error}); restore it from a copy: it says whose events are refused"
            ) from error
        return found


def _arrived(table: pa.Table) -> Any:
    """Return when each row's event arrived or, where nobody says so, happened, in µs."""
    happened = table.column("timestamp").cast(pa.int64())
    if "arrived" not in table.column_names:
        return happened
    return pc.coalesce(table.column("arrived").cast(pa.int64()), happened)
