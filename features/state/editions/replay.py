"""Fold events of the log into states: what a worker or a rollout lacks."""

from collections.abc import Iterator
from itertools import islice

from data.log.event_table import placed_events
from data.log.log import Log
from data.log.sources import topic_source
from data.schema import Schema
from features.facts import fact_maker
from features.state.fold import Fold, Sourced
from features.state.states import States

__all__ = ["replay"]

_ROWS = 10_000
"""Events folded at once."""


def replay(
    fold: Fold,
    log: Log,
    *,
    states: States,
    schema: Schema,
    topic: bytes,
    partition: int,
    offsets: range,
    watch: bool = False,
) -> Iterator[list[Sourced]]:
    """Fold the events at `offsets` of a topic's partition into the fold's `states`; yield what was folded, by batches.

    Fences skip those that are in the states. `watch` is that of `Fold.apply`. Raises what that does, and DataError.
    """
    fact = fact_maker(schema)
    tables = log.read(topic_source(topic), partition, offsets)
    events = (placed for table in tables for placed in placed_events(table, schema))
    sourced = (
        Sourced(fact(placed_event.event), partition, placed_event.offset, placed_event.arrived_us)
        for placed_event in events
    )
    while batch := list(islice(sourced, _ROWS)):
        fold.apply(batch, watch=watch, logged=True)
        states.note_event(max(item.fact.timestamp_us for item in batch))
        yield batch
