"""Kafka's messages as rows for people; their text stays text."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from data.event import MAX_EVENT_BYTES, EventDecoder, Rejection
from data.schema import Schema
from data.units import to_micros
from events.kafka.inspector import GroupLag, Message, PartitionRange
from events.predictions.message import decode_prediction
from events.stream.heartbeat import WorkerStatus
from server.console.calculators.answers import named_row
from server.console.formats import NOTHING, ago, moment, number

__all__ = ["group_rows", "letter_rows", "member_rows", "message_rows", "prediction_rows", "topic_rows"]

_SHOWN = 2_000
"""The most characters shown of a value."""


def topic_rows(ranges: Sequence[PartitionRange]) -> list[dict[str, Any]]:
    """Return a row per topic."""
    topics: dict[str, list[PartitionRange]] = {}
    for one in ranges:
        topics.setdefault(one.topic, []).append(one)
    return [
        {"topic": topic, "partitions": len(parts), "messages": sum(part.messages for part in parts)}
        for topic, parts in topics.items()
    ]


def group_rows(groups: Sequence[GroupLag]) -> list[dict[str, Any]]:
    """Return a row per group and topic, partitions summed."""
    found: dict[tuple[str, str], list[GroupLag]] = {}
    for one in groups:
        found.setdefault((one.group, one.topic), []).append(one)
    return [
        {
            "group": group,
            "topic": topic,
            "partitions": len(parts),
            "lag (messages)": sum(part.lag for part in parts),
            "by partition": ", ".join(f"{part.partition}: {number(part.lag)}" for part in parts),
        }
        for (group, topic), parts in found.items()
    ]


def member_rows(workers: Sequence[WorkerStatus], group: str, now_us: int) -> list[dict[str, Any]]:
    """Return a row per live worker: its group, protocol, partitions, lag, and since when it runs."""
    return [
        {
            "worker": one.worker,
            "group": group,
            "protocol": one.membership.protocol or NOTHING,
            "partitions": ", ".join(map(str, sorted(one.lag))) or NOTHING,
            "lag (messages)": sum(one.lag.values()),
            "events/s": round(one.rate, 1),
            "folded": one.folded,
            "runs since": moment(one.started_us),
            "last sign": ago(one.at_us, now_us),
            "waits for": one.waiting,
        }
        for one in workers
    ]


def message_rows(messages: Sequence[Message], now_us: int, schema: Schema) -> list[dict[str, Any]]:
    """Return a row per message. `decoded` is an event's formatted JSON, `fault` why it is invalid.

    Other values are text.
    """
    decode = EventDecoder(schema)
    rows = []
    for message in messages:
        value = message.value or b""
        event = decode(value, key=message.key, now_us=now_us) if len(value) <= MAX_EVENT_BYTES else None
        rows.append(
            {
                "time (UTC)": moment(message.timestamp_us).removesuffix(" UTC"),
                "at": f"{message.partition}:{message.offset}",
                "message": _text(message.value),
                "key": _text(message.key),
                "headers": "; ".join(f"{name}={_text(data)}" for name, data in message.headers),
                "no event because": f"{event.kind}: {event.reason}" if isinstance(event, Rejection) else "",
            }
        )
    return rows


def prediction_rows(
    messages: Sequence[Message], schema: Schema, within: Callable[[str], str] = str
) -> list[dict[str, Any]]:
    """Return a row per scored request; messages that are no predictions are left out.

    `within` gives the words for the horizon of a target.
    """
    return [
        {
            "time": moment(to_micros(found.timestamp)),
            **named_row(partial(getattr, found), schema),
            "target": found.target.replace("_", " "),
            "within": within(found.target),
            "probability (%)": round(100 * found.score, 1),
            "reaches threshold": "yes" if found.prediction else "no",
            "model": found.model,
            "answered as": found.role,
            "asked by": found.origin,
        }
        for found in (decode_prediction(message.value, schema) for message in messages)
        if found is not None
    ]


def letter_rows(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return a row per dead letter: reason, origin, and its bytes as text."""
    rows = []
    for message in messages:
        headers = {name: _text(data) for name, data in message.headers}
        rows.append(
            {
                "time": moment(message.timestamp_us),
                "kind": headers.get("kind", NOTHING),
                "reason": headers.get("reason", NOTHING),
                "stood at": f"{headers.get('partition', '?')}:{headers.get('offset', '?')}",
                "message": _text(message.value),
            }
        )
    return rows


def _text(data: bytes | None) -> str:
    """Return bytes as text; what is not UTF-8 or not printable is escaped."""
    if data is None:
        return ""
    text = data[: 4 * _SHOWN].decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"
