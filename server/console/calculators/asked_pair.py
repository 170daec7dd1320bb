"""Whom and what the questions of a project are of, and which event of both repeats."""

from typing import NamedTuple

from data.project import Project
from model.targets import targets_of

__all__ = ["AskedPair", "Regular", "asked_pair"]


class AskedPair(NamedTuple):
    """The columns that say who and what, the type of events that repeats, its plural, the column of money if any."""

    who: str
    what: str
    event_type: str
    events: str
    amount: str | None


class Regular(NamedTuple):
    """Somebody with several events of one thing: how many, the first and last (UTC µs), the mean amount."""

    who: str
    what: str
    times: int
    first_us: int
    last_us: int
    amount: float


def asked_pair(project: Project) -> AskedPair | None:
    """Return whom and what a project's questions are of, and what repeats; None where they name no two keys."""
    schema = project.schema
    keys = [name for name in schema.asked_keys if name in schema.keys]
    if len(keys) != 2:
        return None
    first = next(iter(targets_of(project).values()))
    amount = next((measure.name for measure in schema.asked_measures), None)
    who, what = sorted(keys, key=lambda name: name != schema.ordered_by)
    plurals = {one.name: one.plural for one in schema.types}
    return AskedPair(who, what, first.label, plurals.get(first.label) or f"{first.label} events", amount)
