"""The producer's records: every message before it was sent, and every acknowledgement.

Two files of frames, written without a buffer, so that the records of a killed producer are complete:
`sent`: number, kind, length of key and value (-1: none), key, value; `acknowledged`: number, partition, offset, time.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["CANARY", "EVENT", "POISON", "Acknowledged", "Ledger", "Sent", "read_acknowledged", "read_sent"]

EVENT, POISON, CANARY = 0, 1, 2

_SENT = struct.Struct("<QBii")
_ACKNOWLEDGED = struct.Struct("<QiqQ")


class Sent(NamedTuple):
    """One message that is sent."""

    number: int
    kind: int
    key: bytes | None
    value: bytes | None


class Acknowledged(NamedTuple):
    """The position that the broker returned for a message, and the time of the answer (µs since 1970)."""

    number: int
    partition: int
    offset: int
    at_us: int


class Ledger:
    """Both files, opened to append: a restarted producer continues in them."""

    def __init__(self, folder: Path) -> None:
        self._sent = (folder / "sent").open("ab", buffering=0)
        self._acknowledged = (folder / "acknowledged").open("ab", buffering=0)

    def close(self) -> None:
        """Close both files."""
        self._sent.close()
        self._acknowledged.close()

    def sent(self, message: Sent) -> None:
        """Record a message; call it before sending."""
        number, kind, key, value = message
        head = _SENT.pack(number, kind, -1 if key is None else len(key), -1 if value is None else len(value))
        self._sent.write(head + (key or b"") + (value or b""))

    def acknowledged(self, acknowledged: Acknowledged) -> None:
        """Record an acknowledgement of the broker."""
        self._acknowledged.write(_ACKNOWLEDGED.pack(*acknowledged))


def read_sent(folder: Path) -> Iterator[Sent]:
    """Yield all messages that were sent, or about to be."""
    data = memoryview((folder / "sent").read_bytes())
    at = 0
    while at < len(data):
        number, kind, key_length, value_length = _SENT.unpack_from(data, at)
        at += _SENT.size
        key = None if key_length < 0 else bytes(data[at : at + key_length])
        at += max(0, key_length)
        value = None if value_length < 0 else bytes(data[at : at + value_length])
        at += max(0, value_length)
        yield Sent(number, kind, key, value)


def read_acknowledged(folder: Path) -> list[Acknowledged]:
    """Return all acknowledgements."""
    data = (folder / "acknowledged").read_bytes()
    return [Acknowledged(*fields) for fields in _ACKNOWLEDGED.iter_unpack(data)]
