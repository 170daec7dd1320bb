"""Due repeats as rows: the pair, when it is due, and with what probability."""

from collections.abc import Sequence
from typing import Any

from data.units import DAY_US
from server.console import formats
from server.console.calculators.answers import Asking, words_of
from server.console.calculators.asked_pair import AskedPair
from server.console.calculators.scored_pairs import ScoredPair, ScoredPairs
from server.console.names import name_of

__all__ = ["average_of", "column_of", "due_rows", "made_at"]


def column_of(question: Asking | None) -> str:
    """Return the heading of probabilities: their horizon, if known."""
    return f"{question.within} (%)" if question else "probability (%)"


def average_of(question: Asking | None) -> str:
    """Return the base rate in a sentence; empty if unknown."""
    if question is None or question.base_rate is None:
        return ""
    model = f"{question.model[:1].upper()}{question.model[1:]}"
    return f" On average {formats.percent(question.base_rate)} {question.within}. {model}."


def made_at(scored: ScoredPairs) -> str:
    """Return when scores were made, and the base rate, in sentences."""
    return f" Scored at {formats.moment(scored.at_us)}.{average_of(scored.question)}"


def due_rows(
    pair: AskedPair, scored_pairs: Sequence[ScoredPair], now_us: int, question: Asking | None
) -> list[dict[str, Any]]:
    """Return a row per due pair, with the display names that exist."""
    user, item = words_of(pair.user_key), words_of(pair.item_key)
    rows = []
    for scored in scored_pairs:
        days = (scored.due_us - now_us) / DAY_US
        rows.append(
            {
                user: scored.regular.user,
                f"{user} name": name_of(pair.user_key, scored.regular.user),
                item: scored.regular.item,
                f"{item} name": name_of(pair.item_key, scored.regular.item),
                column_of(question): round(100 * scored.score, 1),
                "due": f"in {days:.1f} d" if days >= 0 else f"{-days:.1f} d ago",
                "events": scored.regular.times,
                **({f"mean {words_of(pair.amount)}": round(scored.regular.amount, 2)} if pair.amount else {}),
                "last (UTC)": formats.moment(scored.regular.last_us).removesuffix(" UTC"),
            }
        )
    empty = {name for name in (f"{user} name", f"{item} name") if not any(row[name] for row in rows)}
    return [{name: cell for name, cell in row.items() if name not in empty} for row in rows]
