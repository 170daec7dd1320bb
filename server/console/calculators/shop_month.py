"""A shop's last days compared with as many before: what was sold, and what a model is worth."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from data.units import DAY_US, from_micros
from server.console.calculators.asked_pair import AskedPair
from server.console.calculators.event_history import Day, EventHistory, Sold
from server.console.calculators.scored_pairs import ScoredPair

__all__ = ["Period", "Worth", "change", "shop_periods", "worth_of"]

_BEST = 10


class Period(NamedTuple):
    """A period of days: total amount, number of events and of buyers, and the values per day."""

    amount: float
    events: int
    buyers: int
    days: list[Day]


class Worth(NamedTuple):
    """Expected amount of pairs chosen by a model (`chosen` of `total`), against as many chosen at random."""

    chosen: int
    total: int
    expected: float
    blind: float

    @property
    def more(self) -> float:
        """Expected amount gained by the choice."""
        return self.expected - self.blind


def shop_periods(history: EventHistory, pair: AskedPair, now_us: int, days: int) -> tuple[Period, Period, list[Sold]]:
    """Return the last `days` days, as many before, and what sold best; days are UTC days, today included."""
    until = (now_us // DAY_US + 1) * DAY_US
    since, before = until - days * DAY_US, until - 2 * days * DAY_US
    sold = {day.day: day for day in history.sold_by_day(pair, before, until)}
    parts = [
        _period([sold.get(day, Day(day, 0, 0, 0)) for day in _days(start, days)], history.who_bought(pair, start, end))
        for start, end in ((since, until), (before, since))
    ]
    return parts[0], parts[1], history.best_sellers(pair, since, until, _BEST)


def change(current: float, before: float) -> str | None:
    """Return a change in words such as +12 %; None if there was nothing before."""
    return f"{100 * (current / before - 1):+.0f} %" if before else None


def worth_of(pairs: Sequence[ScoredPair]) -> Worth:
    """Return the worth of choosing the pairs whose score reaches the threshold, instead of as many at random.

    A score is the probability of paying the mean amount again within the horizon, regardless of any intervention.
    """
    expected = [pair.score * pair.regular.amount for pair in pairs]
    chosen = [amount for pair, amount in zip(pairs, expected, strict=True) if pair.prediction]
    return Worth(len(chosen), len(pairs), sum(chosen), len(chosen) * sum(expected) / len(expected) if expected else 0.0)


def _period(days: list[Day], buyers: int) -> Period:
    return Period(sum(day.amount for day in days), sum(day.events for day in days), buyers, days)


def _days(first_us: int, count: int) -> list[date]:
    first_day = from_micros(first_us).date()
    return [first_day + timedelta(days=number) for number in range(count)]
