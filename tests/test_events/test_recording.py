"""Recorded files: every line becomes a message with its own bytes, whatever it holds."""

import gzip
from pathlib import Path

import pytest

from data.errors import ConfigurationError, DataError
from events.producer.recording import RecordedMessage, read_recording

GOOD = b'{"user_id":"\xc3\xa9va","timestamp":"1970-01-01T01:00:00.000001+01:00","x":1}'


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
def test_lines_keep_their_bytes_and_blank_ones_are_none(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, GOOD + b"\r\n\n  \n" + b' {"user_id": "b" } \n' + b"last")
    assert list(read_recording(path, "user_id")) == [
        RecordedMessage("éva".encode(), GOOD, 1),
        RecordedMessage(b"b", b' {"user_id": "b" } ', None),
        RecordedMessage(None, b"last", None),
    ]


def test_a_byte_order_mark_and_padding_are_no_part_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + GOOD + b"\n") + bytes(512))
    assert list(read_recording(path, "user_id")) == [RecordedMessage("éva".encode(), GOOD, 1)]


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"{",
        b"[1]",
        b"null",
        b"{}",
        b'{"user_id":null}',
        b'{"user_id":7}',
        b'{"user_id":""}',
        b'{"user_id":"\\ud800"}',
        b'{"user_id":"\xff"}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
)
def test_a_line_without_a_user_has_no_key(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path / "events.jsonl", line + b"\n" + GOOD)
    broken, good = read_recording(path, "user_id")
    assert broken == RecordedMessage(None, line, None)
    assert good.key == "éva".encode()


@pytest.mark.parametrize("timestamp", [b"null", b"7", b'"yesterday"', b'"2024-01-01T00:00:00"', b"{}"])
def test_a_line_without_a_good_timestamp_keeps_its_key(tmp_path: Path, timestamp: bytes) -> None:
    path = write(tmp_path / "events.jsonl", b'{"user_id":"u","timestamp":' + timestamp + b"}")
    (message,) = read_recording(path, "user_id")
    assert (message.key, message.timestamp_us) == (b"u", None)


@pytest.mark.parametrize("name", ["absent.jsonl", "absent.jsonl.gz", "folder"])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match=f"{name}: cannot be opened"):
        list(read_recording(tmp_path / name, "user_id"))


def test_a_file_that_breaks_off_says_where(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD + b"\n")[:-8])
    messages = read_recording(path, "user_id")
    with pytest.raises(DataError, match=r"events.jsonl.gz: unreadable after line \d+"):
        list(messages)


def test_a_file_that_is_no_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(GOOD)
    with pytest.raises(DataError, match=r"events.jsonl.gz: unreadable after line 0 \(Not a gzipped file"):
        list(read_recording(path, "user_id"))
