"""What is an event and what is refused, and that a refusal names the field."""

import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import NOW_US, events

from data.default_shop import ShopEvent, decode_event
from data.event import FUTURE_TOLERANCE_US, MAX_EVENT_BYTES, MAX_REASON, Event, Rejection, encode_event
from data.units import from_micros, to_micros

GOOD: dict[str, Any] = {
    "event_id": "e1",
    "event_type": "purchase",
    "user_id": "u1",
    "product_id": "p1",
    "amount": 9.99,
    "timestamp": "2026-03-01T12:00:00Z",
}


def decode(changes: dict[str, Any], *, key: bytes | None = b"u1", now_us: int = NOW_US) -> Event | Rejection:
    return decode_event(json.dumps({**GOOD, **changes}).encode(), key=key, now_us=now_us)


@settings(deadline=None)
@given(raw=st.none() | st.binary(max_size=300), key=st.none() | st.binary(max_size=5))
@example(raw=b"\xff", key=None)
@example(raw=b"{}", key=None)
@example(raw=b"null", key=b"")
def test_any_bytes_give_an_event_or_a_rejection(raw: bytes | None, key: bytes | None) -> None:
    assert isinstance(decode_event(raw, key=key, now_us=NOW_US), Event | Rejection)


@pytest.mark.integration
@settings(deadline=None)
@given(event=events(), data=st.data())
def test_a_damaged_event_gives_an_event_or_a_rejection(event: Event, data: st.DataObject) -> None:
    raw = bytearray(encode_event(event))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(decode_event(bytes(raw), key=event.user_id.encode(), now_us=NOW_US), Event | Rejection)


@pytest.mark.integration
@settings(deadline=None)
@given(events())
def test_an_event_survives_the_wire(event: Event) -> None:
    assert decode_event(encode_event(event), key=event.user_id.encode(), now_us=NOW_US) == event


@settings(deadline=None)
@given(st.integers(0, 4_000_000_000_000_000))
def test_microseconds_survive_as_a_datetime(micros: int) -> None:
    assert to_micros(from_micros(micros)) == micros


def test_the_zone_of_a_timestamp_is_kept_in_its_value() -> None:
    event = decode({"timestamp": "2026-03-01T14:00:00.000001+02:00"})
    assert isinstance(event, Event)
    assert event.timestamp == datetime(2026, 3, 1, 14, 0, 0, 1, timezone(timedelta(hours=2)))
    assert event.timestamp_us == 1_772_366_400_000_001


def test_what_is_left_out_has_its_default() -> None:
    event = decode({})
    assert isinstance(event, Event)
    assert (event.quantity, event.session_id, event.category, event.metadata) == (1, None, None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", ""),
        ("event_id", "x" * 65),
        ("event_id", 7),
        ("event_type", "refund"),
        ("user_id", ""),
        ("user_id", "u" * 129),
        ("user_id", "u\n1"),
        ("user_id", "u\u200b1"),
        ("product_id", "p" * 129),
        ("product_id", "p\u00001"),
        ("amount", -0.01),
        ("amount", "9.99"),
        ("amount", None),
        ("amount", 1e304),
        ("quantity", 0),
        ("quantity", 2**31),
        ("quantity", 1.5),
        ("timestamp", "2026-03-01T12:00:00"),
        ("timestamp", "yesterday"),
        ("timestamp", 1_772_366_400),
        ("timestamp", "1969-12-31T23:59:59Z"),
        ("session_id", "s" * 257),
        ("category", 3),
        ("metadata", "mobile"),
        ("metadata", [1]),
    ],
)
def test_a_broken_rule_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    rejection = decode({field: value}, key=value.encode() if field == "user_id" else b"u1")  # type: ignore[attr-defined]
    assert isinstance(rejection, Rejection)
    assert rejection.kind == "invalid"
    assert f"`$.{field}`" in rejection.reason


@pytest.mark.parametrize("field", sorted(GOOD))
def test_a_missing_field_is_refused_by_its_name(field: str) -> None:
    without = {name: value for name, value in GOOD.items() if name != field}
    rejection = decode_event(json.dumps(without).encode(), key=b"u1", now_us=NOW_US)
    assert isinstance(rejection, Rejection)
    assert f"`{field}`" in rejection.reason


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_in_json_is_malformed(amount: float) -> None:
    rejection = decode({"amount": amount})  # Python's json writes NaN and Infinity
    assert isinstance(rejection, Rejection)
    assert rejection.kind == "malformed"


def test_an_infinite_amount_by_overflow_is_refused() -> None:
    raw = json.dumps(GOOD).replace("9.99", "1e999").encode()
    assert isinstance(decode_event(raw, key=b"u1", now_us=NOW_US), Rejection)


@pytest.mark.parametrize(
    ("ahead_us", "accepted"), [(0, True), (FUTURE_TOLERANCE_US, True), (FUTURE_TOLERANCE_US + 1, False)]
)
def test_the_future_begins_five_minutes_ahead(ahead_us: int, accepted: bool) -> None:
    timestamp_us = 1_772_366_400_000_000
    result = decode({}, now_us=timestamp_us - ahead_us)
    assert isinstance(result, Event) is accepted
    if isinstance(result, Rejection):
        assert result.kind == "future"
        assert "`$.timestamp`" in result.reason


@pytest.mark.parametrize("key", [None, b"", b"u2", b"u1 ", b"\xff"])
def test_a_key_that_is_not_the_user_is_refused(key: bytes | None) -> None:
    rejection = decode({}, key=key)
    assert isinstance(rejection, Rejection)
    assert rejection.kind == "wrong_key"
    assert "user_id" in rejection.reason


def test_the_largest_message_is_read_and_a_larger_one_is_not() -> None:
    room = MAX_EVENT_BYTES - len(json.dumps({**GOOD, "metadata": {"note": ""}}))
    assert isinstance(decode({"metadata": {"note": "x" * room}}), Event)
    rejection = decode({"metadata": {"note": "x" * (room + 1)}})
    assert isinstance(rejection, Rejection)
    assert rejection.kind == "too_large"


def test_no_value_is_refused() -> None:
    rejection = decode_event(None, key=b"u1", now_us=NOW_US)
    assert isinstance(rejection, Rejection)
    assert rejection.kind == "empty"


@pytest.mark.parametrize("field", ["event_id", "user_id", "product_id", "session_id", "category", "metadata"])
def test_half_of_a_surrogate_pair_is_refused_anywhere(field: str) -> None:
    """Such text cannot be written as UTF-8: it would fail later, in the log or in Redis."""
    rejection = decode({field: {"note": "\ud800"} if field == "metadata" else "\ud800"})
    assert isinstance(rejection, Rejection)


@pytest.mark.parametrize("raw", [b"[" * 60_000, b'{"metadata":' * 5_000, b'{"metadata":{"a":' + b"[" * 60_000])
def test_deep_nesting_is_malformed(raw: bytes) -> None:
    rejection = decode_event(raw, key=b"u1", now_us=NOW_US)
    assert isinstance(rejection, Rejection)
    assert rejection.kind in {"malformed", "invalid"}


@pytest.mark.parametrize(("depth", "accepted"), [(32, True), (33, False), (900, False), (30_000, False)])
def test_metadata_is_nested_32_deep_at_most(depth: int, accepted: bool) -> None:
    """900 levels decode here, and would not encode again where the stack is deeper."""
    lists = "[" * (depth - 1) + "]" * (depth - 1)
    raw = json.dumps({**GOOD, "metadata": {"note": "here"}}).replace('"here"', lists).encode()
    result = decode_event(raw, key=b"u1", now_us=NOW_US)
    assert isinstance(result, Event) is accepted
    if isinstance(result, Rejection):
        assert result.kind in {"invalid", "malformed"}


@pytest.mark.parametrize(
    ("amount", "kept"),
    [(9.99, 9.99), (1.2345678, 1.234568), (0.1 + 0.2, 0.3), (1e-9, 0.0), (123456789.123456, 123456789.123456)],
)
def test_amounts_are_kept_to_six_decimals(amount: float, kept: float) -> None:
    event = decode({"amount": amount})
    assert isinstance(event, Event)
    assert event.amount == kept


def test_an_event_cannot_be_changed() -> None:
    event = decode({})
    assert isinstance(event, Event)
    with pytest.raises(AttributeError):
        event.amount = 1.0  # type: ignore[attr-defined]
    assert msgspec.structs.replace(event, amount=1.0).amount == 1.0


EXTRA_EVENT = ShopEvent("e1", "view", "u", "p", 1.0, from_micros(1_760_000_000_000_000), metadata={"device": "phone"})


def test_fields_that_are_not_known_are_kept() -> None:
    raw = json.loads(encode_event(EXTRA_EVENT)) | {"channel": "app", "store": {"id": 7}, "schema_version": 1}
    event = decode_event(json.dumps(raw).encode(), key=b"u", now_us=NOW_US)
    assert isinstance(event, Event)
    assert event.metadata == {"device": "phone", "_extra": {"channel": "app", "store": {"id": 7}}}
    assert decode_event(encode_event(event), key=b"u", now_us=NOW_US) == event, "it goes round as it is"
    again = json.loads(encode_event(event)) | {"colour": "red"}
    event = decode_event(json.dumps(again).encode(), key=b"u", now_us=NOW_US)
    assert isinstance(event, Event)
    assert event.metadata
    assert event.metadata["_extra"] == {"colour": "red", "_extra": {"channel": "app", "store": {"id": 7}}}


@pytest.mark.parametrize(
    ("changed", "kind", "reason"),
    [
        ({"schema_version": 2}, "newer_schema", "schema_version 2; this Encore reads 1: upgrade it"),
        ({"schema_version": 2, "amount": "other"}, "newer_schema", "schema_version 2"),
        ({"schema_version": "1"}, "invalid", "schema_version"),
        ({"schema_version": 0}, "invalid", "schema_version"),
        ({"channel": "app", "amount": -1}, "invalid", r"amount"),
        ({"channel": "app", "user_id": None}, "invalid", "user_id"),
    ],
)
def test_a_newer_schema_is_refused_by_name(changed: dict[str, object], kind: str, reason: str) -> None:
    raw = json.loads(encode_event(EXTRA_EVENT)) | changed
    found = decode_event(json.dumps(raw).encode(), key=b"u", now_us=NOW_US)
    assert isinstance(found, Rejection)
    assert found.kind == kind
    assert reason in found.reason


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"event_id": "e", "event_type": "view", "user_id": "u", "product_id": "p", "amount": 1, '
         b'"timestamp": "2026-01-01T00:00:00Z"}', b"\xff\x1b[2J" * 200_000),
        (b'{"' + b"x" * 60_000 + b'": 1}', b"u"),
        (b'{"event_type": "' + b"\\u202e\\n" * 5_000 + b'"}', b"u"),
        (b'{"schema_version": "' + b"y" * 60_000 + b'"}', b"u"),
        (b"[" * 60_000, b"u"),
    ],
)  # fmt: skip
def test_a_reason_is_one_short_line_whatever_the_message_holds(raw: bytes, key: bytes) -> None:
    rejection = decode_event(raw, key=key, now_us=10**17)
    assert isinstance(rejection, Rejection)
    assert 0 < len(rejection.reason) <= MAX_REASON
    assert rejection.reason.isprintable()
    long = Rejection("kind", "x" * 10**6 + "\n")
    assert len(long.reason) == MAX_REASON
    assert msgspec.json.decode(msgspec.json.encode(long), type=Rejection) == long
