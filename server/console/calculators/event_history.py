"""Queries of the event log: the busiest users and products, a user's events, and features at an earlier time."""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import pandas as pd

from data.log.event_log import EventLog
from data.units import from_micros
from features.batch.engine import DuckDBEngine
from features.entities import PRODUCT, USER, USER_PRODUCT, Entity
from features.plan.plan import Plan
from features.state.values import RequestValues, Value
from server.console.calculators.asked_pair import AskedPair, Regular

__all__ = ["Day", "Done", "EventHistory", "Sold", "day_counts"]


class Done(NamedTuple):
    """An event of a user; `amount` is the line's, in the shop's currency."""

    at_us: int
    event_type: str
    product_id: str
    amount: float


class Day(NamedTuple):
    """The events of a UTC day: their amount (or number, if there is no money), their number, and that of buyers."""

    day: date
    amount: float
    events: int
    buyers: int


class Sold(NamedTuple):
    """Sales of one id in a period: amount, number of events, and the amount in the period before."""

    item: str
    amount: float
    events: int
    before: float


class EventHistory:
    """Queries of one event log, each by an engine of its own that is closed afterwards.

    Every method raises `DataError` if the log is empty or cannot be read.
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
        values: dict[str, Value] = {}
        with self._engine() as engine:
            for entity in (USER, PRODUCT, USER_PRODUCT):
                spine = pd.DataFrame([{key: ids[key] for key in entity.join_keys} | {"time_us": at_us}])
                values |= self._values(engine, entity, spine, None)[0]
        request = RequestValues(self._plan)
        return values | dict(zip(request.names, request.get(values, (amount,), at_us), strict=True))

    def regulars(self, pair: AskedPair, at_us: int, limit: int) -> list[Regular]:
        """Return the pairs with at least two of the events by `at_us` (UTC µs), the latest first."""
        amount = f'coalesce(avg("{pair.amount}"), 0)' if pair.amount else "0"
        rows = self._rows(
            f'SELECT "{pair.user_key}", "{pair.item_key}", count(*), min(epoch_us("timestamp")), '  # noqa: S608 - declared names
            f'max(epoch_us("timestamp")) AS last, {amount} FROM {{log}} '
            'WHERE event_type = $kind AND epoch_us("timestamp") <= $at '
            "GROUP BY 1, 2 HAVING count(*) >= 2 ORDER BY last DESC, 1, 2 LIMIT $most",
            kind=pair.event_type,
            at=at_us,
            most=limit,
        )
        return [Regular(*row) for row in rows]

    def sold_by_day(self, pair: AskedPair, since_us: int, until_us: int) -> list[Day]:
        """Return the sales of each UTC day of `[since_us, until_us)` that has events, in order."""
        rows = self._rows(
            f"SELECT CAST(\"timestamp\" AT TIME ZONE 'UTC' AS DATE), {_amount(pair)}, count(*), "  # noqa: S608 - declared
            f'count(DISTINCT "{pair.user_key}") FROM {{log}} WHERE event_type = $kind '
            'AND epoch_us("timestamp") >= $since AND epoch_us("timestamp") < $until GROUP BY 1 ORDER BY 1',
            kind=pair.event_type,
            since=since_us,
            until=until_us,
        )
        return [Day(*row) for row in rows]

    def who_bought(self, pair: AskedPair, since_us: int, until_us: int) -> int:
        """Return the number of buyers: ids with such an event in `[since_us, until_us)`."""
        rows = self._rows(
            f'SELECT count(DISTINCT "{pair.user_key}") FROM {{log}} WHERE event_type = $kind '  # noqa: S608 - declared names
            'AND epoch_us("timestamp") >= $since AND epoch_us("timestamp") < $until',
            kind=pair.event_type,
            since=since_us,
            until=until_us,
        )
        return int(rows[0][0])

    def best_sellers(self, pair: AskedPair, since_us: int, until_us: int, limit: int) -> list[Sold]:
        """Return the ids that sold most in `[since_us, until_us)`, and their sales in as long a time before."""
        current, before = ('FILTER (epoch_us("timestamp") >= $since)', 'FILTER (epoch_us("timestamp") < $since)')
        rows = self._rows(
            f'SELECT "{pair.item_key}", {_amount(pair, current)} AS amount, count(*) {current} AS events, '  # noqa: S608 - declared
            f"{_amount(pair, before)} FROM {{log}} WHERE event_type = $kind "
            'AND epoch_us("timestamp") >= $before AND epoch_us("timestamp") < $until '
            "GROUP BY 1 HAVING events > 0 ORDER BY amount DESC, events DESC, 1 LIMIT $most",
            kind=pair.event_type,
            since=since_us,
            before=2 * since_us - until_us,
            until=until_us,
            most=limit,
        )
        return [Sold(*row) for row in rows]

    def had_before(self, pair: AskedPair, user: str, limit: int) -> list[str]:
        """Return the ids that `user` has such events with, the latest first."""
        rows = self._rows(
            f'SELECT "{pair.item_key}" FROM {{log}} WHERE "{pair.user_key}" = $user '  # noqa: S608 - declared names
            'AND event_type = $kind GROUP BY 1 ORDER BY max("timestamp") DESC LIMIT $most',
            user=user,
            kind=pair.event_type,
            most=limit,
        )
        return [row[0] for row in rows]

    def _values(
        self, engine: DuckDBEngine, entity: Entity, spine: pd.DataFrame, names: Sequence[str] | None
    ) -> list[dict[str, Value]]:
        """Return features at each row of a spine, computed over the events of its users or products alone."""
        feature_names = [feature.name for feature in self._plan.of(entity.name).features] if names is None else names
        rows: list[dict[str, Value]] = engine.values(self._plan, entity.name, spine, feature_names).to_pylist()
        return rows

    def _rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run a query over the events, which it calls `{log}`."""
        with self._engine() as engine:
            result = engine.connection.raw_sql(query.format(log=engine.scan()), parameters=parameters)
            rows: list[tuple[Any, ...]] = result.fetchall()
        return rows

    def _engine(self) -> DuckDBEngine:
        return DuckDBEngine(self._log, memory=self._memory)


def _amount(pair: AskedPair, only: str = "") -> str:
    """Return SQL for the amount of events: money, or their number if they have none."""
    return f'coalesce(sum("{pair.amount}") {only}, 0)' if pair.amount else f"count(*) {only}"


def day_counts(events: Sequence[Done]) -> dict[str, dict[str, int]]:
    """Return the number of events of each type on each day (UTC, ISO), from the first day to the last."""
    if not events:
        return {}
    first_day, last_day = from_micros(events[0].at_us).date(), from_micros(events[-1].at_us).date()
    days = [day.date().isoformat() for day in pd.date_range(first_day, last_day)]
    counts: dict[str, dict[str, int]] = {}
    for event in events:
        day = from_micros(event.at_us).date().isoformat()
        counts.setdefault(event.event_type, dict.fromkeys(days, 0))[day] += 1
    return counts
