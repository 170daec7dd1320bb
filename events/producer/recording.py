"""Recorded events: the lines of a JSON Lines file as Kafka messages, valid or not."""

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec

from data.errors import ConfigurationError, DataError
from data.units import to_micros

__all__ = ["RecordedMessage", "read_recording"]


class RecordedMessage(NamedTuple):
    """One line: its bytes, its key (what orders events), and its event time in UTC microseconds where it has one."""

    key: bytes | None
    value: bytes
    timestamp_us: int | None


def read_recording(path: Path, ordered_by: str) -> Iterator[RecordedMessage]:
    """Yield the lines of a `.jsonl` or `.jsonl.gz` file, in order, without line ends and byte-order mark.

    Blank lines are skipped. A line that is no JSON object, or has no `ordered_by`, has no key: the worker sends it to
    the dead letters. Raises ConfigurationError if the file cannot be opened, DataError if it breaks off within.
    """
    line_of = msgspec.defstruct("Line", [("key", Any, None), ("timestamp", Any, None)], rename={"key": ordered_by})
    decode = msgspec.json.Decoder(line_of).decode
    number = 0
    try:
        with _open(path) as lines:
            for line in lines:
                number += 1  # not `enumerate`: if reading fails, this is the last line that was read
                value = line.rstrip(b"\r\n")
                if number == 1:
                    value = value.removeprefix(codecs.BOM_UTF8)
                if value.strip():
                    yield _message(decode, value)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: unreadable after line {number} ({error}); the lines before it were read") from error


def _open(path: Path) -> IO[bytes]:
    try:
        return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be opened ({error.strerror}); name a .jsonl or .jsonl.gz file"
        ) from error


def _message(decode: Callable[[bytes], Any], value: bytes) -> RecordedMessage:
    try:
        line = decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return RecordedMessage(None, value, None)
    return RecordedMessage(_key(line.key), value, _timestamp_us(line.timestamp))


def _key(name: object) -> bytes | None:
    if not isinstance(name, str) or not name:
        return None
    try:
        return name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return None


def _timestamp_us(timestamp: object) -> int | None:
    try:
        moment = msgspec.convert(timestamp, datetime)
    except msgspec.ValidationError:
        return None
    return to_micros(moment) if moment.tzinfo is not None else None
