"""Acts of shoppers as a log, and what a target's answer is by its definition."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from data.default_shop import SHOP
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS, declared
from data.units import DAY_US
from features.batch.engine import DuckDBEngine
from model.examples.spine import build_spine
from model.targets import REPEAT_PURCHASE, SESSION_IDLE_US, Target

__all__ = ["START_US", "TARGETS", "Act", "keys_of", "log_of", "naive_label", "spine_of", "table"]


START_US = 1_767_225_600_000_000  # 2026-01-01


TARGETS = [
    REPEAT_PURCHASE,
    Target("cart_left", ("add_to_cart",), "purchase", 2 * DAY_US, "left", rule="does_not_follow", asked_later=False),
    Target("intent", ("view", "add_to_cart"), "purchase", DAY_US, "buys", entity="user"),
    Target("next", ("view", "purchase"), "purchase", DAY_US, "buys", rule="follows_in_next_session", entity="user"),
]


class Act(NamedTuple):
    kind: str
    user: str
    product: str
    at: int
    amount: float = 1.0


def table(acts: Sequence[Act], *, first: int | None = None) -> pa.Table:
    """Acts as events; with the offsets that a Kafka partition would give them when `first` is given."""
    plain = pa.table(
        {
            "event_id": [f"e{number}" for number in range(len(acts))],
            "event_type": [act.kind for act in acts],
            "user_id": [act.user for act in acts],
            "product_id": [act.product for act in acts],
            "amount": [act.amount for act in acts],
            "quantity": [1] * len(acts),
            "timestamp": pa.array([START_US + act.at for act in acts], pa.timestamp("us", tz="UTC")),
            "session_id": pa.nulls(len(acts), pa.string()),
            "category": [f"kind-{act.product}" for act in acts],
            "metadata": pa.nulls(len(acts), pa.string()),
        }
    )
    found = declared(plain, EVENT_COLUMNS, SHOP)
    if first is not None:
        found = found.append_column("offset", pa.array(range(first, first + len(acts)), pa.int64()))
    return found


def log_of(folder: Path, acts: Sequence[Act]) -> EventLog:
    log = EventLog(folder / "events")
    log.write_history("shop", [table(acts)])
    return log


def spine_of(log: EventLog, target: Target, **options: Any) -> pd.DataFrame:
    with DuckDBEngine(log) as engine:
        return build_spine(engine, target, **options)


def keys_of(target: Target, user: str, product: str) -> tuple[str, ...]:
    return (user, product) if target.entity == "user_product" else (user,)


def naive_label(acts: Sequence[Act], target: Target, user: str, product: str, at: int) -> int:
    """By looking at every event."""
    keys = keys_of(target, user, product)
    found = [
        act.at
        for act in acts
        if act.kind == target.label
        and keys_of(target, act.user, act.product) == keys
        and at < act.at <= at + target.horizon_us
    ]
    if target.rule == "follows_in_next_session":
        times = sorted({act.at for act in acts if act.user == user})
        begins = [time for place, time in enumerate(times) if place == 0 or time - times[place - 1] > SESSION_IDLE_US]
        after = [begin for begin in begins if begin > at]
        end = after[1] if len(after) > 1 else max(times) + 1
        found = [time for time in found if after and after[0] <= time < end]
    return int(bool(found) != (target.rule == "does_not_follow"))
