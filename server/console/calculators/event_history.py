"""Queries of the event log: the busiest users and products, a user's events, and features at an earlier time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from data.log.event_log import EventLog
from data.units import from_micros
from features.batch.engine import DuckDBEngine
from features.entities import PRODUCT, USER, USER_PRODUCT, Entity
from features.plan.plan import Plan
from features.state.values import RequestValues, Value

__all__ = ["Done", "EventHistory", "Rebuyer", "day_counts"]


class Done(NamedTuple):
    """An event of a user; `amount` is the line's, in the shop's currency."""

    at_us: int
    event_type: str
    product_id: str
    amount: float


class Rebuyer(NamedTuple):
    """A user who bought a product at least twice, with features of the pair by name."""

    user_id: str
    product_id: str
    features: dict[str, Value]


class EventHistory:
    """Queries of one event log, each by an engine of its own that is closed afterwards.

    Every method raises `DataError` where the log is empty or cannot be read.
    """

    def __init__(self, log: EventLog, plan: Plan, *, memory: str = "1GB") -> None:
        self._log = log
        self._plan = plan
        self._memory = memory

    def most_active(self, column: str, limit: int) -> list[str]:
        """Return the values of a key or label (users or products, say) with most events, busiest first."""
        assert column in self._plan.schema.asked_keys  # noqa: S101 - it becomes part of the query
        query = (
            f'SELECT "{column}" FROM {{log}} WHERE "{column}" IS NOT NULL '  # noqa: S608 - ours
            "GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT $most"
        )
        rows = self._rows(query, most=limit)
        return [row[0] for row in rows]

    def of_user(self, user_id: str, limit: int) -> list[Done]:
        """Return the user's newest events, oldest first."""
        rows = self._rows(
            'SELECT epoch_us("timestamp"), event_type, product_id, amount FROM {log} '
            'WHERE user_id = $user ORDER BY "timestamp" DESC, event_id LIMIT $most',
            user=user_id,
            most=limit,
        )
        return [Done(*row) for row in reversed(rows)]

    def features_at(self, user_id: str, product_id: str, amount: float | None, at_us: int) -> dict[str, Value]:
        """Return every feature of the user, the product, the pair and the request, as of a time (UTC µs)."""
        ids = {"user_id": user_id, "product_id": product_id}
        found: dict[str, Value] = {}
        with self._engine() as engine:
            for entity in (USER, PRODUCT, USER_PRODUCT):
                spine = pd.DataFrame([{key: ids[key] for key in entity.join_keys} | {"time_us": at_us}])
                found |= self._values(engine, entity, spine, None)[0]
        request = RequestValues(self._plan)
        return found | dict(zip(request.names, request.get(found, (amount,), at_us), strict=True))

    def rebuyers(self, at_us: int, names: Sequence[str], limit: int) -> list[Rebuyer]:
        """Return users with a product they bought at least twice by then, the latest buyers first.

        Each with the named features of the pair at that time (UTC µs).
        """
        with self._engine() as engine:
            spine = engine.connection.raw_sql(
                f"SELECT user_id, product_id FROM {engine.scan()} "  # noqa: S608 - ours
                "WHERE event_type = 'purchase' AND epoch_us(\"timestamp\") <= $at "
                'GROUP BY 1, 2 HAVING count(*) >= 2 ORDER BY max("timestamp") DESC, 1, 2 LIMIT $most',
                parameters={"at": at_us, "most": limit},
            ).df()
            if spine.empty:
                return []
            values = self._values(engine, USER_PRODUCT, spine.assign(time_us=at_us), names)
        return [
            Rebuyer(user, product, features)
            for user, product, features in zip(spine["user_id"], spine["product_id"], values, strict=True)
        ]

    def bought_by(self, user_id: str, limit: int) -> list[str]:
        """Return the products that the user bought, the latest first."""
        rows = self._rows(
            "SELECT product_id FROM {log} WHERE user_id = $user AND event_type = 'purchase' "
            'GROUP BY 1 ORDER BY max("timestamp") DESC LIMIT $most',
            user=user_id,
            most=limit,
        )
        return [row[0] for row in rows]

    def _values(
        self, engine: DuckDBEngine, entity: Entity, spine: pd.DataFrame, names: Sequence[str] | None
    ) -> list[dict[str, Value]]:
        """Return features at each row of a spine, computed over the events of its users or products alone."""
        wanted = [feature.name for feature in self._plan.of(entity.name).features] if names is None else names
        rows: list[dict[str, Value]] = engine.values(self._plan, entity.name, spine, wanted, narrow=True).to_pylist()
        return rows

    def _rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run a query over the events, which it calls `{log}`."""
        with self._engine() as engine:
            found = engine.connection.raw_sql(query.format(log=engine.scan()), parameters=parameters)
            rows: list[tuple[Any, ...]] = found.fetchall()
        return rows

    def _engine(self) -> DuckDBEngine:
        return DuckDBEngine(self._log, memory=self._memory)


def day_counts(events: Sequence[Done]) -> dict[str, dict[str, int]]:
    """Return the number of events of each type on each day (UTC, ISO), from the first day to the last."""
    if not events:
        return {}
    first, last = from_micros(events[0].at_us).date(), from_micros(events[-1].at_us).date()
    days = [day.date().isoformat() for day in pd.date_range(first, last)]
    counts: dict[str, dict[str, int]] = {}
    for event in events:
        day = from_micros(event.at_us).date().isoformat()
        counts.setdefault(event.event_type, dict.fromkeys(days, 0))[day] += 1
    return counts
