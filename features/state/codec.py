"""States as bytes: a version, a checksum and one MessagePack array, as `docs/online-format.md` specifies them."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any
from zlib import crc32

import msgspec

from data.errors import LayoutError, StateError
from features.plan.plan import EntityPlan
from features.seen import ENTRY_BYTES, Seen
from features.state.tiles import rows_of

__all__ = ["STATE_VERSION", "Codec"]

STATE_VERSION = 2
"""The version of the encoding that is written, the first byte of a state. Version 1 is read too."""


class Codec:
    """Encodes and decodes the states of one entity."""

    def __init__(self, plan: EntityPlan) -> None:
        self._entity = plan.entity
        self._layout = plan.layout
        self._columns = [len(tile_set.columns) for tile_set in plan.tile_sets]
        self._slots_end = 1 + len(plan.slots)
        self._tiles_end = self._slots_end + len(plan.tile_sets)
        self._firsts = len(plan.firsts)
        self._firsts_end = self._tiles_end + self._firsts
        self._end = self._firsts_end + bool(plan.remembers_s)

    def encode(self, slots: list[Any], tiles: list[list[int]], firsts: list[Any], seen: Mapping[int, Seen]) -> bytes:
        """Encode the parts of a state."""
        fields = [self._layout, *slots, *tiles, *firsts]
        if self._end > self._firsts_end:
            flat: list[Any] = []
            for number in sorted(seen) if len(seen) > 1 else seen:
                flat += (number, seen[number].forgotten, seen[number].entries)
            fields.append(flat)
        try:
            body = _encoder.encode(fields)
        except OverflowError:
            body = _encoder.encode(_shrink(fields))
        return _VERSION + crc32(body, _CHECKED[_VERSION]).to_bytes(4, "big") + body

    def decode(self, data: bytes) -> tuple[list[Any], list[list[int]], list[Any], dict[int, Seen]]:
        """Decode the parts of a state. Raises StateError for other bytes, an unknown version or another layout."""
        version = data[:1]
        if version not in _CHECKED:
            raise self._refused(f"version {version.hex() or 'none'}, this Encore reads 1 to {STATE_VERSION}")
        body = data[5:]
        try:
            if crc32(body, _CHECKED[version]) != int.from_bytes(data[1:5], "big"):
                raise ValueError("its checksum differs")
            fields = _decoder.decode(body)
            layout = fields[0]
        except (msgspec.MsgspecError, IndexError, ValueError, RecursionError) as error:
            raise self._refused(f"corrupted ({error})") from error
        if layout != self._layout:
            if type(layout) is not type(self._layout):
                raise self._refused("corrupted (its layout is no layout)")
            reason = f"written under other definitions (layout {layout}, now {self._layout})"
            way_out = "run `encore rebuild`, or start this again where that is done"
            raise LayoutError(f"{self._entity} state: {reason}; {way_out}")
        slots_end, tiles_end = self._slots_end, self._tiles_end
        try:
            if version == _COLUMNAR:
                fields = self._upgraded(fields)
            if len(fields) != self._end:
                raise ValueError(f"{len(fields)} fields, not {self._end}")
            firsts = fields[tiles_end : self._firsts_end]
            firsts = [first and (first[0], first[1]) for first in firsts] if firsts else []
            seen = _seen(fields[-1]) if self._end > self._firsts_end else {}
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise self._refused(f"corrupted ({error})") from error
        return fields[1:slots_end], fields[slots_end:tiles_end], firsts, seen

    def _upgraded(self, fields: list[Any]) -> list[Any]:
        """Convert the fields of version 1, which kept a list per column of tiles, oldest first, to version 2."""
        end = self._slots_end
        upgraded = fields[:end]
        for columns in self._columns:
            start, end = end, end + 1 + columns
            upgraded.append(rows_of(list(accumulate(fields[start])), fields[start + 1 : end]))
        return upgraded + fields[end:]

    def _refused(self, reason: str) -> StateError:
        return StateError(f"{self._entity} state: {reason}; run `encore rebuild`")


_VERSION = bytes([STATE_VERSION])
_COLUMNAR = b"\x01"
_CHECKED = {_COLUMNAR: 0, _VERSION: crc32(_VERSION)}
"""Initial value of the checksum by version: from version 2 on it covers the version byte too."""


def _seen(flat: list[Any]) -> dict[int, Seen]:
    """Return what partitions brought, from a flat list of partition, last forgotten offset and entries of each."""
    seen = {}
    for number, forgotten, entries in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
        if type(number) is not int or type(forgotten) is not int or type(entries) is not bytes:
            raise TypeError("what was seen is no partition, offset and bytes")
        if len(entries) % ENTRY_BYTES or not entries:
            raise ValueError(f"{len(entries)} bytes of events that were seen")
        seen[number] = Seen(forgotten, entries)
    return seen


_BIG = 1
_LOW = 2


def _shrink(value: Any) -> Any:
    """Replace integers past 64 bits by MessagePack extensions: big-endian bytes of 1, what is above 0, or 2, below."""
    if isinstance(value, list | tuple):
        return [_shrink(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return msgspec.msgpack.Ext(
            _BIG if value > 0 else _LOW, abs(value).to_bytes((value.bit_length() + 7) // 8, "big")
        )
    return value


def _grow(code: int, data: memoryview) -> int:
    if code not in {_BIG, _LOW}:
        raise ValueError(f"unknown extension {code}")
    return int.from_bytes(data, "big") * (1 if code == _BIG else -1)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Any], ext_hook=_grow)
