"""The event: its wire format and the rules it must keep."""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec

from data.printable import printable
from data.units import MICROS, to_micros

__all__ = [
    "EVENT_TYPES",
    "EXTRA",
    "FUTURE_TOLERANCE_US",
    "MAX_AMOUNT",
    "MAX_EVENT_BYTES",
    "MAX_METADATA_DEPTH",
    "MAX_REASON",
    "SCHEMA_VERSION",
    "Event",
    "EventType",
    "Rejection",
    "decode_event",
    "encode_event",
]

EventType = Literal["view", "add_to_cart", "remove_from_cart", "purchase"]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)

FUTURE_TOLERANCE_US = 300 * MICROS
"""Events further ahead of the clock than this are rejected; a producer's clock may be wrong by as much."""

MAX_EVENT_BYTES = 64 * 1024
"""Larger messages are rejected undecoded; an event is about 250 bytes."""

MAX_AMOUNT = 1e15
"""The largest amount of a line; sums of such amounts stay exact."""
MAX_METADATA_DEPTH = 32
"""Deeper metadata is rejected: what decodes on a shallow stack may fail to encode on a deeper one and stop a worker."""

MAX_REASON = 300
"""The longest `reason` of a rejection, in characters."""

SCHEMA_VERSION = 1
"""The newest `schema_version` that is accepted: in a newer one the same names may mean other things."""

EXTRA = "_extra"
"""The key of `metadata` under which fields are kept that this version does not know, so that none is lost."""

_EntityId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Label = Annotated[str, msgspec.Meta(max_length=256)]


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One action of a shopper. `amount` is the total price of the line, rounded to six decimals."""

    event_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    event_type: EventType
    user_id: _EntityId
    product_id: _EntityId
    amount: Annotated[float, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    quantity: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = 1
    session_id: _Label | None = None
    category: _Label | None = None
    metadata: dict[str, Any] | None = None

    @property
    def timestamp_us(self) -> int:
        """Event time in UTC microseconds since 1970."""
        return to_micros(self.timestamp)


class Rejection(msgspec.Struct, frozen=True):
    """Why a message is not a valid event: a `kind` to count by, and a `reason` to read.

    The reason is one line of bounded length, whatever the message holds: it goes into headers, heartbeats and pages.
    """

    kind: str
    reason: str

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "reason", printable(self.reason, MAX_REASON))


_decoder = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


def decode_event(raw: bytes | None, *, key: bytes | None, now_us: int) -> Event | Rejection:
    """Decode and check one Kafka message; return a `Rejection` where it breaks a rule.

    `key` is the message's key, which must be the user's id: the key chooses the partition, and a user's events are
    exact only when one partition orders them. `now_us` is the time in UTC microseconds.
    """
    if raw is None:
        return Rejection("empty", "the message has no value")
    if len(raw) > MAX_EVENT_BYTES:
        return Rejection("too_large", f"{len(raw)} bytes; an event has at most {MAX_EVENT_BYTES}")
    try:
        try:
            event = _decoder.decode(raw)
        except msgspec.ValidationError as error:
            found = _decode_more(raw, error)
            if isinstance(found, Rejection):
                return found
            event = found
    except (msgspec.DecodeError, RecursionError) as error:
        return Rejection("malformed", f"not JSON: {error}")
    except UnicodeDecodeError as error:
        return Rejection("malformed", f"not UTF-8: {error}")
    return _check(event, key, now_us)


def _decode_more(raw: bytes, error: msgspec.ValidationError) -> Event | Rejection:
    """Decode an event with fields that `Event` does not declare, a rare case: they are kept in its metadata."""
    fields = msgspec.json.decode(raw)
    if not isinstance(fields, dict):
        return Rejection("invalid", str(error))
    version = fields.pop("schema_version", SCHEMA_VERSION)
    if type(version) is not int or version < 1:
        return Rejection("invalid", f"not an integer from 1 on: {version!r:.40} - at `$.schema_version`")
    if version > SCHEMA_VERSION:
        return Rejection("newer_schema", f"schema_version {version}; this Encore reads {SCHEMA_VERSION}: upgrade it")
    extra = {name: fields.pop(name) for name in fields.keys() - set(Event.__struct_fields__)}
    try:
        event = msgspec.convert(fields, Event)
    except msgspec.ValidationError as other:
        return Rejection("invalid", str(other))
    if not extra:
        return event
    metadata = event.metadata or {}
    if EXTRA in metadata:  # an Encore has exported this event
        extra[EXTRA] = metadata[EXTRA]
    return msgspec.structs.replace(event, metadata={**metadata, EXTRA: extra})


def _check(event: Event, key: bytes | None, now_us: int) -> Event | Rejection:
    """Check the rules that the decoder cannot express."""
    for field, text in (("user_id", event.user_id), ("product_id", event.product_id)):
        if not text.isprintable():
            return Rejection("invalid", f"unprintable characters - at `$.{field}`")
    if key is None or key != event.user_id.encode():
        return Rejection(
            "wrong_key", f"key {None if key is None else key[:MAX_REASON]!r} is not the user_id {event.user_id!r}"
        )
    timestamp_us = event.timestamp_us
    if timestamp_us > now_us + FUTURE_TOLERANCE_US:
        return Rejection("future", f"{event.timestamp.isoformat()} is over 5 minutes ahead - at `$.timestamp`")
    if timestamp_us < 0:
        return Rejection("invalid", f"{event.timestamp.isoformat()} is before 1970 - at `$.timestamp`")
    if event.metadata is not None and _is_deeper(event.metadata, MAX_METADATA_DEPTH):
        return Rejection("invalid", f"nested over {MAX_METADATA_DEPTH} deep - at `$.metadata`")
    rounded = round(event.amount, 6)
    return event if rounded == event.amount else msgspec.structs.replace(event, amount=rounded)


def encode_event(event: Event) -> bytes:
    """Encode an event as Kafka carries it: compact JSON in UTF-8."""
    return _encoder.encode(event)


def _is_deeper(value: Any, depth: int) -> bool:
    """Return whether lists and objects are nested more than `depth` levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_is_deeper(each, depth - 1) for each in inner)
