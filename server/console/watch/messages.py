"""Kafka's messages as rows for people; their text stays text."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from data.event import MAX_EVENT_BYTES, EventDecoder, Rejection
from data.schema import Schema
from data.units import to_micros
from events.kafka.inspector import GroupLag, PartitionRange, StoredMessage
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
    for partition in ranges:
        topics.setdefault(partition.topic, []).append(partition)
    return [
        {"topic": topic, "partitions": len(parts), "messages": sum(part.messages for part in parts)}
        for topic, parts in topics.items()
    ]


def group_rows(groups: Sequence[GroupLag]) -> list[dict[str, Any]]:
    """Return a row per group and topic, partitions summed."""
    partitions: dict[tuple[str, str], list[GroupLag]] = {}
    for lag in groups:
        partitions.setdefault((lag.group, lag.topic), []).append(lag)
    return [
        {
            "group": group,
            "topic": topic,
            "partitions": len(parts),
            "lag (messages)": sum(part.lag for part in parts),
            "by partition": ", ".join(f"{part.partition}: {number(part.lag)}" for part in parts),
        }
        for (group, topic), parts in partitions.items()
    ]


def member_rows(workers: Sequence[WorkerStatus], group: str, now_us: int) -> list[dict[str, Any]]:
    """Return a row per live worker: its group, protocol, partitions, lag, and since when it runs."""
    return [
        {
            "worker": worker.worker,
            "group": group,
            "protocol": worker.membership.protocol or NOTHING,
            "partitions": ", ".join(map(str, sorted(worker.lag))) or NOTHING,
            "lag (messages)": sum(worker.lag.values()),
            "events/s": round(worker.rate, 1),
            "folded": worker.folded,
            "runs since": moment(worker.started_us),
            "last sign": ago(worker.at_us, now_us),
            "waits for": worker.waiting,
        }
        for worker in workers
    ]


def message_rows(messages: Sequence[StoredMessage], now_us: int, schema: Schema) -> list[dict[str, Any]]:
    """Return a row per message. `no event because` says why a message is no valid event.

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
    messages: Sequence[StoredMessage], schema: Schema, horizon_of: Callable[[str], str] = str
) -> list[dict[str, Any]]:
    """Return a row per scored request; messages that are no predictions are left out.

    `horizon_of` returns the description of a target's horizon.
    """
    return [
        {
            "time": moment(to_micros(prediction.timestamp)),
            **named_row(partial(getattr, prediction), schema),
            "target": prediction.target.replace("_", " "),
            "within": horizon_of(prediction.target),
            "probability (%)": round(100 * prediction.score, 1),
            "reaches threshold": "yes" if prediction.prediction else "no",
            "model": prediction.model,
            "answered as": prediction.role,
            "asked by": prediction.origin,
        }
        for prediction in (decode_prediction(message.value, schema) for message in messages)
        if prediction is not None
    ]


def letter_rows(messages: Sequence[StoredMessage]) -> list[dict[str, Any]]:
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
