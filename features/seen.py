"""The ids of the events that a state has seen lately, so that one which is sent again counts once.

    sent again   a client repeats what it sent, with the same `event_id`: a new offset, and a repeat
    read again   Kafka delivers an offset a second time: the same event, which is what it was

A repeat leaves no trace in any state, nor in the log; so states from the log have the same bytes. What arrived first
is remembered with its offset, and of what is forgotten the last offset: so an offset that is read again gets the same
answer, as long as nothing was forgotten that may be read again (`features.state.fold`).
"""

from bisect import bisect_left
from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from data.units import MICROS

__all__ = ["ENTRY_BYTES", "MOST_SEEN", "Entry", "Repeats", "Seen", "token_of"]

MOST_SEEN = 4_096
"""The most events that are remembered of one ordering key: the newest."""

_TOKEN, _OFFSET, _TIME = 8, 6, 4
ENTRY_BYTES = _TOKEN + _OFFSET + _TIME
"""Bytes of an entry: a token of the event's id, its offset, and when it arrived in s since 1970, both little-endian."""

_MOST_BYTES = MOST_SEEN * ENTRY_BYTES
_LAST_S = 2 ** (8 * _TIME) - 1


def token_of(event_id: str) -> bytes:
    """Return the eight-byte token of an id: BLAKE2b of its UTF-8."""
    return blake2b(event_id.encode(), digest_size=_TOKEN).digest()


class Entry(NamedTuple):
    """An event that is remembered."""

    token: bytes
    offset: int
    at_s: int


class Seen:
    """What one partition lately brought a state: entries in the order of their offsets.

    An entry's time is when its event arrived, or an earlier one where that was later: so times never fall.
    `forgotten`: the last offset of those that are not remembered any more; -1 before there are any.
    """

    __slots__ = ("entries", "forgotten")

    def __init__(self, forgotten: int = -1, entries: bytes = b"") -> None:
        self.forgotten = forgotten
        self.entries = entries

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and (self.forgotten, self.entries) == (other.forgotten, other.entries)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Seen({self.forgotten}, {list(self)})"

    def __len__(self) -> int:
        return len(self.entries) // ENTRY_BYTES

    def __iter__(self) -> Iterator[Entry]:
        for start in range(0, len(self.entries), ENTRY_BYTES):
            token = self.entries[start : start + _TOKEN]
            yield Entry(token, self._offset(start // ENTRY_BYTES), self._time(start))

    def is_repeat(self, token: bytes, at_s: int, within_s: int) -> bool:
        """Return whether an event that is read for the first time, and arrived at `at_s`, was sent before."""
        entries = self.entries
        start = entries.rfind(token)
        while start > 0 and start % ENTRY_BYTES:  # bytes of two entries that look like a token
            start = entries.rfind(token, 0, start + _TOKEN - 1)
        return start >= 0 and max(at_s, _time(entries, len(entries) - _TIME)) - self._time(start) < within_s

    def was_repeat(self, offset: int) -> bool | None:
        """Return whether the event at an offset that was read before is a repeat; None where that is forgotten."""
        if offset <= self.forgotten:
            return None
        place = bisect_left(range(len(self)), offset, key=self._offset)
        return place == len(self) or self._offset(place) != offset

    def add(self, token: bytes, offset: int, at_s: int, within_s: int) -> None:
        """Remember an event, which is past all others, and forget those that arrived `within_s` before it."""
        entries = self.entries
        now_s = min(at_s, _LAST_S)
        if entries:
            newest_s = _time(entries, len(entries) - _TIME)
            now_s = max(now_s, newest_s)
        self.entries = entries = entries + _pack(token, offset & _LOW, offset >> 32, now_s)
        if len(entries) > _MOST_BYTES or _time(entries, _TOKEN + _OFFSET) <= now_s - within_s:
            self._forget(now_s - within_s)

    def merge(self, other: "Seen", within_s: int) -> "Seen":
        """Return what both have seen, which must be of different events."""
        merged = Seen(max(self.forgotten, other.forgotten))
        for token, offset, at_s in sorted((*self, *other), key=lambda entry: entry.offset):
            if offset > merged.forgotten:
                merged.add(token, offset, at_s, within_s)
        return merged

    def _forget(self, until_s: int) -> None:
        start = max(0, len(self.entries) - _MOST_BYTES)
        while self._time(start) <= until_s:
            start += ENTRY_BYTES
        self.forgotten = self._offset(start // ENTRY_BYTES - 1)
        self.entries = self.entries[start:]

    def _offset(self, place: int) -> int:
        start = place * ENTRY_BYTES + _TOKEN
        return int.from_bytes(self.entries[start : start + _OFFSET], "little")

    def _time(self, start: int) -> int:
        return _time(self.entries, start + _TOKEN + _OFFSET)


class Repeats:
    """Tells repeats among the events of one partition without its states, by all that it brought before."""

    def __init__(self, within_s: int) -> None:
        self._within_s = within_s
        self._seen: dict[str, Seen] = {}

    def take(self, key: str, event_id: str, offset: int, arrived_us: int, *, logged: bool = False) -> bool:
        """Return whether an event was sent before; remember it where it was not, or the log has it.

        `key` is the event's ordering key. Events come in the order of their offsets.
        """
        if not self._within_s:
            return False
        seen, token, at_s = self._seen.setdefault(key, Seen()), token_of(event_id), arrived_us // MICROS
        repeat = not logged and seen.is_repeat(token, at_s, self._within_s)
        if not repeat:
            seen.add(token, offset, at_s, self._within_s)
        return repeat


_pack = Struct("<8sIHI").pack
_LOW = 2**32 - 1


def _time(entries: bytes, at: int) -> int:
    time_s: int = _unpack_time(entries, at)[0]
    return time_s


_unpack_time = Struct("<I").unpack_from
