"""The event: its wire format and the rules it must keep, as a schema declares them."""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec

from data.printable import printable
from data.schema import Measure, Schema
from data.units import MICROS, to_micros

__all__ = [
    "EXTRA",
    "FUTURE_TOLERANCE_US",
    "MAX_EVENT_BYTES",
    "MAX_METADATA_DEPTH",
    "MAX_REASON",
    "SCHEMA_VERSION",
    "Event",
    "EventDecoder",
    "Rejection",
    "encode_event",
    "event_class",
]

FUTURE_TOLERANCE_US = 300 * MICROS
"""Events further ahead of the clock than this are rejected; a producer's clock may be wrong by as much."""

MAX_EVENT_BYTES = 64 * 1024
"""Larger messages are rejected undecoded; an event is about 250 bytes."""

MAX_METADATA_DEPTH = 32
"""Deeper metadata is rejected: what decodes on a shallow stack may fail to encode on a deeper one and stop a worker."""

MAX_REASON = 300
"""The longest `reason` of a rejection, in characters."""

SCHEMA_VERSION = 1
"""The newest `schema_version` that is accepted: in a newer one the same names may mean other things."""

EXTRA = "_extra"
"""The key of `metadata` under which fields are kept that this version does not know, so that none is lost."""

_EventId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_Key = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Label = Annotated[str, msgspec.Meta(max_length=256)]


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One event. `event_class` makes the class of a schema's events, with its columns as fields."""

    if TYPE_CHECKING:
        event_id: str
        event_type: str
        timestamp: datetime
        session_id: str | None
        metadata: dict[str, Any] | None

        def __init__(self, *values: Any, **fields: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

    @property
    def timestamp_us(self) -> int:
        """Event time in UTC microseconds since 1970."""
        return to_micros(self.timestamp)


@cache
def event_class(schema: Schema) -> type[Event]:
    """Return the class of a schema's events.

    Its fields are event_id, event_type, the keys, measures that every event has, and timestamp; then, with defaults,
    the other measures, session_id, the labels and metadata.
    """
    required = [measure for measure in schema.measures if measure.default is None]
    others = [measure for measure in schema.measures if measure.default is not None]
    fields: list[Any] = [
        ("event_id", _EventId),
        ("event_type", Literal[schema.type_names]),
        *((key, _Key) for key in schema.keys),
        *((measure.name, _number(measure)) for measure in required),
        ("timestamp", _Moment),
        *((measure.name, _number(measure), _default(measure)) for measure in others),
        ("session_id", _Label | None, None),
        *((label, _Label | None, None) for label in schema.labels),
        ("metadata", dict[str, Any] | None, None),
    ]
    options: dict[str, Any] = {
        "frozen": True,
        "gc": False,
        "omit_defaults": True,
        "forbid_unknown_fields": True,
        "module": __name__,
    }
    made: type[Event] = msgspec.defstruct("Event", fields, bases=(Event,), **options)  # type: ignore[assignment]
    return made


def _number(measure: Measure) -> Any:
    bounds = msgspec.Meta(ge=_exactly(measure, measure.least), le=_exactly(measure, measure.most))
    return Annotated[int if measure.is_whole else float, bounds]


def _default(measure: Measure) -> Any:
    return _exactly(measure, measure.default or 0)


def _exactly(measure: Measure, value: float) -> float:
    return int(value) if measure.is_whole else float(value)


class Rejection(msgspec.Struct, frozen=True):
    """Why a message is not a valid event: a `kind` to count by, and a `reason` to read.

    The reason is one line of bounded length, whatever the message holds: it goes into headers, heartbeats and pages.
    """

    kind: str
    reason: str

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "reason", printable(self.reason, MAX_REASON))


_encoder = msgspec.json.Encoder()


class EventDecoder:
    """Decodes and checks the messages of a schema's events."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._event = event_class(schema)
        self._decoder = msgspec.json.Decoder(self._event)
        self._fields = frozenset(self._event.__struct_fields__)
        self._decode = self._decoder.decode
        self._is_sound = _soundness(schema)

    def __call__(self, raw: bytes | None, *, key: bytes | None, now_us: int) -> Event | Rejection:
        """Decode and check one Kafka message; return a `Rejection` where it breaks a rule.

        `key` is the message's key, which must be the ordering key: the key chooses the partition, and a user's events
        are exact only when one partition orders them. `now_us` is the time in UTC microseconds.
        """
        if raw is None:
            return Rejection("empty", "the message has no value")
        if len(raw) > MAX_EVENT_BYTES:
            return Rejection("too_large", f"{len(raw)} bytes; an event has at most {MAX_EVENT_BYTES}")
        try:
            try:
                event = self._decode(raw)
            except msgspec.ValidationError as error:
                decoded = self._decode_more(raw, error)
                if isinstance(decoded, Rejection):
                    return decoded
                event = decoded
        except (msgspec.DecodeError, RecursionError) as error:
            return Rejection("malformed", f"not JSON: {error}")
        except UnicodeDecodeError as error:
            return Rejection("malformed", f"not UTF-8: {error}")
        return event if self._is_sound(event, key, now_us + FUTURE_TOLERANCE_US) else self._check(event, key, now_us)

    def _decode_more(self, raw: bytes, error: msgspec.ValidationError) -> Event | Rejection:
        """Decode an event with fields that the schema does not declare, a rare case: they are kept in its metadata."""
        fields = msgspec.json.decode(raw)
        if not isinstance(fields, dict):
            return Rejection("invalid", str(error))
        version = fields.pop("schema_version", SCHEMA_VERSION)
        if type(version) is not int or version < 1:
            return Rejection("invalid", f"not an integer from 1 on: {version!r:.40} - at `$.schema_version`")
        if version > SCHEMA_VERSION:
            return Rejection(
                "newer_schema", f"schema_version {version}; this Encore reads {SCHEMA_VERSION}: upgrade it"
            )
        extra = {name: fields.pop(name) for name in fields.keys() - self._fields}
        try:
            event = msgspec.convert(fields, self._event)
        except msgspec.ValidationError as other:
            return Rejection("invalid", str(other))
        if not extra:
            return event
        metadata = event.metadata or {}
        if EXTRA in metadata:  # an Encore has exported this event
            extra[EXTRA] = metadata[EXTRA]
        return msgspec.structs.replace(event, metadata={**metadata, EXTRA: extra})

    def _check(self, event: Event, key: bytes | None, now_us: int) -> Event | Rejection:
        """Return the event, rounded, or the rule that it breaks, of those that the decoder cannot express."""
        for name in self.schema.keys:
            if not getattr(event, name).isprintable():
                return Rejection("invalid", f"unprintable characters - at `$.{name}`")
        ordering = getattr(event, self.schema.ordered_by)
        if key is None or key != ordering.encode():
            shown = None if key is None else key[:MAX_REASON]
            return Rejection("wrong_key", f"key {shown!r} is not the {self.schema.ordered_by} {ordering!r}")
        timestamp_us = event.timestamp_us
        if timestamp_us > now_us + FUTURE_TOLERANCE_US:
            return Rejection("future", f"{event.timestamp.isoformat()} is over 5 minutes ahead - at `$.timestamp`")
        if timestamp_us < 0:
            return Rejection("invalid", f"{event.timestamp.isoformat()} is before 1970 - at `$.timestamp`")
        if event.metadata is not None and _is_deeper(event.metadata, MAX_METADATA_DEPTH):
            return Rejection("invalid", f"nested over {MAX_METADATA_DEPTH} deep - at `$.metadata`")
        decimal = [measure for measure in self.schema.measures if not measure.is_whole]
        rounded = {measure.name: round(getattr(event, measure.name), measure.decimals) for measure in decimal}
        return msgspec.structs.replace(event, **rounded)


def _soundness(schema: Schema) -> Callable[[Event, bytes | None, int], bool]:
    """Return a function of an event, its message's key and the latest time (µs): whether the event is valid.

    It is compiled from source, since it runs for every message; the source holds only names that the schema has
    checked. `EventDecoder._check` says what is wrong, or rounds.
    """
    tests = [
        f"key == event.{schema.ordered_by}.encode()",
        *(f"event.{key}.isprintable()" for key in schema.keys),
        "0 <= to_micros(event.timestamp) <= latest_us",
        f"(event.metadata is None or not is_deeper(event.metadata, {MAX_METADATA_DEPTH}))",
        *(
            f"(not (value := event.{measure.name}) or round(value, {measure.decimals}) == value)"
            for measure in schema.measures
            if not measure.is_whole
        ),
    ]
    names = {"to_micros": to_micros, "is_deeper": _is_deeper}
    source = f"lambda event, key, latest_us: {' and '.join(tests)}"
    return cast("Callable[[Event, bytes | None, int], bool]", eval(source, names))  # noqa: S307 - as said above


def encode_event(event: Event) -> bytes:
    """Encode an event as Kafka carries it: compact JSON in UTF-8."""
    return _encoder.encode(event)


def _is_deeper(value: Any, depth: int) -> bool:
    """Return whether lists and objects are nested more than `depth` levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_is_deeper(item, depth - 1) for item in inner)
