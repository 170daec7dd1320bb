"""Stored predictions, with the receipts from which they can be recomputed."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from data.errors import ConfigurationError, UnavailableError
from data.schema import Schema
from data.units import to_micros
from events.predictions.message import Receipt
from features.state.values import Value
from server.jobs.build import Progress
from server.jobs.quality import keep_predictions
from server.scoring.kept_predictions import open_archive
from server.settings import Settings

__all__ = ["Answered", "find_answers", "keep_new", "newest_answers"]


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A past answer. `at_us` is its as-of time and `given_us` when it was given, UTC µs.

    `named` are the question's keys; `receipt` is None for an answer of an earlier Encore.
    """

    id: str
    given_us: int
    at_us: int
    target: str
    model: str
    score: float
    threshold: float
    named: dict[str, str | None]
    features: dict[str, Value]
    receipt: Receipt | None


def find_answers(settings: Settings, ids: Sequence[str], progress: Progress) -> list[Answered]:
    """Return the answers with these ids, in order. Raises ConfigurationError, naming ids that are not stored."""
    archive = open_archive(settings)
    answers = _answers(archive.find(ids), settings.declared.schema)
    if missing := set(ids) - answers.keys():
        keep_new(settings, progress)
        answers |= _answers(archive.find(sorted(missing)), settings.declared.schema)
    if missing := set(ids) - answers.keys():
        raise ConfigurationError(
            f"prediction {', '.join(sorted(missing))}: not among those that {archive} keeps; its id may be "
            "another, its message still in Kafka (`encore monitor` moves them here), or it is older than what is kept "
            "(ENCORE_PREDICTIONS_KEPT)"
        )
    return [answers[answer_id] for answer_id in ids]


def newest_answers(settings: Settings, count: int, target: str | None = None) -> list[Answered]:
    """Return the newest stored answers with receipts, of a target or of all, oldest first."""
    return list(_answers(open_archive(settings).newest(count, target), settings.declared.schema).values())


def keep_new(settings: Settings, progress: Progress) -> None:
    """Move predictions from Kafka into the archive; report if Kafka is unreachable."""
    try:
        progress(f"{keep_predictions(settings, open_archive(settings)):,} new predictions kept")
    except UnavailableError as error:
        progress(f"only what is kept already is looked at: {error}")


def _answers(table: pa.Table, schema: Schema) -> dict[str, Answered]:
    return {row["id"]: _answer(row, schema) for row in table.to_pylist()}


def _answer(row: dict[str, Any], schema: Schema) -> Answered:
    return Answered(
        id=row["id"],
        given_us=to_micros(row["timestamp"]),
        at_us=to_micros(row["as_of"]),
        target=row["target"],
        model=row["model"],
        score=row["score"],
        threshold=row["threshold"],
        named={name: row[name] for name in schema.asked_keys},
        features=msgspec.json.decode(row["features"]),
        receipt=None if row["receipt"] is None else msgspec.json.decode(row["receipt"], type=Receipt),
    )
