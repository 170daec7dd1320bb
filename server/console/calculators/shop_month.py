"""The last days of a shop against as many before: what was sold, and what a model is worth to it."""

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
    """So many days: what they brought in all, in how many events, of how many, and day by day."""

    amount: float
    events: int
    buyers: int
    days: list[Day]


class Worth(NamedTuple):
    """What choosing by a model is expected to bring: those chosen, of how many, against as many chosen blindly."""

    chosen: int
    of: int
    expected: float
    blind: float

    @property
    def more(self) -> float:
        """What the choice is worth."""
        return self.expected - self.blind


def shop_periods(history: EventHistory, pair: AskedPair, now_us: int, days: int) -> tuple[Period, Period, list[Sold]]:
    """Return the last `days` days, as many before, and what sold best; a day is UTC's, today among the last."""
    until = (now_us // DAY_US + 1) * DAY_US
    since, before = until - days * DAY_US, until - 2 * days * DAY_US
    sold = {day.day: day for day in history.sold_by_day(pair, before, until)}
    parts = [
        _period([sold.get(day, Day(day, 0, 0, 0)) for day in _days(first, days)], history.who_bought(pair, first, end))
        for first, end in ((since, until), (before, since))
    ]
    return parts[0], parts[1], history.best_sellers(pair, since, until, _BEST)


def change(now: float, before: float) -> str | None:
    """Return a change in words such as +12 %; None where there was nothing before."""
    return f"{100 * (now / before - 1):+.0f} %" if before else None


def worth_of(pairs: Sequence[ScoredPair]) -> Worth:
    """Return what it is worth to turn to those whose score reaches the threshold, instead of as many at random.

    A score is the chance that one pays the mean amount again within the horizon, whatever is done about it.
    """
    brings = [one.score * one.regular.amount for one in pairs]
    chosen = [amount for one, amount in zip(pairs, brings, strict=True) if one.prediction]
    return Worth(len(chosen), len(pairs), sum(chosen), len(chosen) * sum(brings) / len(brings) if brings else 0.0)


def _period(days: list[Day], buyers: int) -> Period:
    return Period(sum(day.amount for day in days), sum(day.events for day in days), buyers, days)


def _days(first_us: int, count: int) -> list[date]:
    first = from_micros(first_us).date()
    return [first + timedelta(days=place) for place in range(count)]
