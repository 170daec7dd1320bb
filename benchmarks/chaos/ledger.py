"""What the producer wrote down: every message before it was sent, and every acknowledgement as it came.

Two files of frames, written without a buffer, so that a killed producer has told all that it did:
`sent`: number, kind, length of key and value (-1: none), key, value; `acknowledged`: number, partition, offset, when.
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
    """One message on its way."""

    number: int
    kind: int
    key: bytes | None
    value: bytes | None


class Acknowledged(NamedTuple):
    """Where the broker says that a message is, and when it said so (µs since 1970)."""

    number: int
    partition: int
    offset: int
    at_us: int


class Ledger:
    """Both files, opened to append: a producer that is started again goes on in them."""

    def __init__(self, folder: Path) -> None:
        self._sent = (folder / "sent").open("ab", buffering=0)
        self._acknowledged = (folder / "acknowledged").open("ab", buffering=0)

    def close(self) -> None:
        """Close both."""
        self._sent.close()
        self._acknowledged.close()

    def sent(self, message: Sent) -> None:
        """Call it before sending."""
        number, kind, key, value = message
        head = _SENT.pack(number, kind, -1 if key is None else len(key), -1 if value is None else len(value))
        self._sent.write(head + (key or b"") + (value or b""))

    def acknowledged(self, acknowledged: Acknowledged) -> None:
        """Call it when the broker has answered."""
        self._acknowledged.write(_ACKNOWLEDGED.pack(*acknowledged))


def read_sent(folder: Path) -> Iterator[Sent]:
    """All that was, or was about to be, sent."""
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
    """All acknowledgements."""
    data = (folder / "acknowledged").read_bytes()
    return [Acknowledged(*fields) for fields in _ACKNOWLEDGED.iter_unpack(data)]
