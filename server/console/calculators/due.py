"""Those who are due as rows: whom, what, when, and how likely, within which time."""

from collections.abc import Sequence
from typing import Any

from data.units import DAY_US
from server.console import formats
from server.console.calculators.answers import Asking, words_of
from server.console.calculators.asked_pair import AskedPair
from server.console.calculators.scored_pairs import ScoredPair
from server.console.names import name_of

__all__ = ["average_of", "column_of", "due_rows"]


def column_of(asked: Asking | None) -> str:
    """Return the heading of probabilities: their horizon, where it is known."""
    return f"{asked.within} (%)" if asked else "probability (%)"


def average_of(asked: Asking | None) -> str:
    """Return the base rate in a sentence; empty where it is not known."""
    if asked is None or asked.base_rate is None:
        return ""
    return f" On average {formats.percent(asked.base_rate)} {asked.within}. {asked.model[:1].upper()}{asked.model[1:]}."


def due_rows(pair: AskedPair, found: Sequence[ScoredPair], now_us: int, asked: Asking | None) -> list[dict[str, Any]]:
    """Return a row for each who is due, with names where there are some."""
    who, what = words_of(pair.who), words_of(pair.what)
    rows = []
    for one in found:
        days = (one.due_us - now_us) / DAY_US
        rows.append(
            {
                who: one.regular.who,
                f"{who} name": name_of(pair.who, one.regular.who),
                what: one.regular.what,
                f"{what} name": name_of(pair.what, one.regular.what),
                column_of(asked): round(100 * one.score, 1),
                "due": f"in {days:.1f} d" if days >= 0 else f"{-days:.1f} d ago",
                "events": one.regular.times,
                **({f"mean {words_of(pair.amount)}": round(one.regular.amount, 2)} if pair.amount else {}),
                "last (UTC)": formats.moment(one.regular.last_us).removesuffix(" UTC"),
            }
        )
    empty = {name for name in (f"{who} name", f"{what} name") if not any(row[name] for row in rows)}
    return [{name: cell for name, cell in row.items() if name not in empty} for row in rows]
