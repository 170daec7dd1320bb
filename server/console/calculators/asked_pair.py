"""The two keys that a project's questions name, and the event type of both that repeats."""

from typing import NamedTuple

from data.project import Project
from model.targets import targets_of

__all__ = ["AskedPair", "Regular", "asked_pair"]


class AskedPair(NamedTuple):
    """Both keys (first that which orders events), the repeating event type, its plural, the column of money, if any."""

    user_key: str
    item_key: str
    event_type: str
    events: str
    amount: str | None


class Regular(NamedTuple):
    """A pair of ids with several events: their number, the first and last time (UTC µs), the mean amount."""

    user: str
    item: str
    times: int
    first_us: int
    last_us: int
    amount: float


def asked_pair(project: Project) -> AskedPair | None:
    """Return a project's pair of keys and the event that repeats; None if its questions do not name two keys."""
    schema = project.schema
    keys = [name for name in schema.asked_keys if name in schema.keys]
    if len(keys) != 2:
        return None
    target = next(iter(targets_of(project).values()))
    amount = next((measure.name for measure in schema.asked_measures), None)
    user_key, item_key = sorted(keys, key=lambda name: name != schema.ordered_by)
    plurals = {event_type.name: event_type.plural for event_type in schema.types}
    return AskedPair(user_key, item_key, target.label, plurals.get(target.label) or f"{target.label} events", amount)
