"""Translates one message of another shape into events."""

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from data.errors import UnfitError
from data.event import MAX_EVENT_BYTES, Rejection, encode_event, event_class
from data.schema import Schema
from data.units import MICROS
from events.translation.mapping import Field, LiveMapping, Moment

__all__ = ["MOST_EVENTS", "Translator", "json_value"]

MOST_EVENTS = 10_000
"""The most events of a message; one with more is refused."""

_UNITS = {"unix": MICROS, "unix_ms": 1_000, "unix_us": 1}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Find = Callable[[Any, Any], Any]
"""A function of a message and the element of its list to a value; None where there is none."""


def json_value(raw: bytes) -> Any:
    """Return the value of a message that is JSON. Raises UnfitError where it is none."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UnfitError(f"not JSON: {error}") from error


class Translator:
    """Makes events of a topic's messages, as a mapping says; `decode` gives a message's value, or raises UnfitError."""

    def __init__(self, schema: Schema, mapping: LiveMapping, decode: Callable[[bytes], Any] = json_value) -> None:
        self._decode = decode
        self._event = event_class(schema)
        self._ordered_by = schema.ordered_by
        self._each = _finder(mapping.each) if mapping.each else None
        texts = {"event_id", "event_type", "session_id", *schema.keys, *schema.labels}
        self._columns = {name: _column(name, mapping.field(name), text=name in texts) for name in mapping.event}
        self._moment = _moment(mapping.time)
        self._ignored = [(_finder(ignored.path), frozenset(ignored.values)) for ignored in mapping.ignore]

    def __call__(self, raw: bytes | None, place: str) -> list[tuple[bytes, bytes]] | Rejection:
        """Return key and value of each event of a message; a Rejection where one of them cannot be made.

        `place` says where the message is, and is its events' id where the mapping names none.
        """
        try:
            if raw is None:
                raise UnfitError("the message has no value")
            message = self._decode(raw)
            return [self._made(message, element, f"{place}-{number}") for number, element in self._elements(message)]
        except (msgspec.ValidationError, UnfitError) as error:
            return Rejection("invalid", str(error))

    def _elements(self, message: Any) -> Iterable[tuple[int, Any]]:
        if any(_text(find(message, None)) in values for find, values in self._ignored):
            return ()
        if self._each is None:
            return ((0, None),)
        elements = self._each(message, None)
        if not isinstance(elements, list) or len(elements) > MOST_EVENTS:
            raise UnfitError(f"no list of up to {MOST_EVENTS} elements where `each` says")
        return enumerate(elements)

    def _made(self, message: Any, element: Any, place: str) -> tuple[bytes, bytes]:
        fields: dict[str, Any] = {"event_id": place}
        for name, column in self._columns.items():
            value = column(message, element)
            if value is not None:
                fields[name] = value
        fields["timestamp"] = self._moment(message, element)
        # Texts that are numbers become numbers, as they are in many a shop's messages.
        event = msgspec.convert(fields, self._event, strict=False)
        value = encode_event(event)
        if len(value) > MAX_EVENT_BYTES:
            raise UnfitError(f"the event would have {len(value)} bytes; it may have {MAX_EVENT_BYTES}")
        return getattr(event, self._ordered_by).encode(), value


def _column(name: str, field: Field, *, text: bool) -> _Find:
    """Return a function that finds a column's value."""
    if field.value is not None:
        value = _text(field.value) if text else field.value
        return lambda _message, _element: value
    finders = [_finder(path) for path in field.paths]
    if len(finders) == 1 and not text and not field.values:
        return finders[0]

    def find(message: Any, element: Any) -> str | None:
        parts = [_text(finder(message, element)) for finder in finders]
        if None in parts:
            return None
        joined = "-".join(part for part in parts if part is not None)
        if not field.values:
            return joined
        if joined not in field.values:
            raise UnfitError(f"{name}: {joined!r:.80} is none of the values that the mapping knows")
        return field.values[joined]

    return find


def _text(value: Any) -> str | None:
    """Return a value as a text: an id of 17850.0 is that of 17850."""
    match value:
        case None | str():
            return value
        case bool() | dict() | list() | bytes():
            raise UnfitError(f"{type(value).__name__} where a text or number is expected")
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))
    return str(value)


def _finder(path: str) -> _Find:
    """Return a function that finds the value at a path: keys and, of lists, numbers from 0, with dots between them."""
    of_element = path.startswith(".")
    steps = path.removeprefix(".").split(".")

    def find(message: Any, element: Any) -> Any:
        value = element if of_element else message
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return str(value) if isinstance(value, Decimal) else value

    return find


def _moment(moment: Moment) -> Callable[[Any, Any], datetime]:
    """Return a function that finds and reads an event's time, with a zone."""
    find, form, zone = _finder(moment.path), moment.form, ZoneInfo(moment.zone)

    def read(message: Any, element: Any) -> datetime:
        value = find(message, element)
        try:
            if form in _UNITS:
                return _of_number(value, _UNITS[form])
            if isinstance(value, datetime):
                return value if value.tzinfo is not None else _standard(value, zone)
            text = _text(value)
            if text is None:
                raise UnfitError(f"no time at `{moment.path}`")
            time = datetime.fromisoformat(text) if form == "iso" else datetime.strptime(text, form)  # noqa: DTZ007
        except (ValueError, OverflowError) as error:
            raise UnfitError(f"no time of the form {form} at `{moment.path}`: {value!r:.80}") from error
        return time if time.tzinfo is not None else _standard(time, zone)

    return read


def _of_number(value: Any, unit_us: int) -> datetime:
    if isinstance(value, str):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UnfitError(f"no number for a time: {value!r:.80}")
    return _EPOCH + timedelta(microseconds=round(value * unit_us))


def _standard(time: datetime, zone: ZoneInfo) -> datetime:
    """Return a local time in its zone: standard time, where the clocks repeat it or leave it out."""
    candidates = [time.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    return min(candidates, key=lambda candidate: candidate.utcoffset() or timedelta())
