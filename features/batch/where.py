"""Conditions on events and entities, in Ibis."""

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any

import ibis.expr.types as ir

from data.schema import Schema
from features.plan.where import Where

__all__ = ["met", "of_entities"]


def met(events: ir.Table, where: Where) -> Any:
    """Return whether an event meets a condition, a boolean column; None where every event does."""
    tests = [
        events[condition.column] == condition.values[0]
        if len(condition.values) == 1
        else events[condition.column].isin(condition.values)
        for condition in where
    ]
    return reduce(and_, tests) if tests else None


def of_entities(events: ir.Table, keys: Sequence[str], schema: Schema) -> ir.Table:
    """Return the events that touch an entity of these join keys: those that have all labels among them."""
    labels = [key for key in keys if key in schema.labels]
    return events.drop_null(labels, how="any") if labels else events
