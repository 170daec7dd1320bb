"""Formats of numbers, times and external text: the same on every page, with units."""

import re
from datetime import datetime

from data.printable import printable
from data.units import MICROS, from_micros, to_micros

__all__ = [
    "NOTHING",
    "ago",
    "chart_text",
    "duration",
    "micros",
    "moment",
    "money",
    "number",
    "percent",
    "plain",
    "points",
    "sentence",
    "significant",
    "size",
    "when",
]

NOTHING = "–"
"""Shown for a missing value, which is never shown as 0."""

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_OUR_COMMAND = re.compile(r"(`(?:encore|make|uv) [A-Za-z0-9 ./:=_-]+`)")


def number(value: float | None, digits: int = 0) -> str:
    """Format as 1,234 or, with digits, 1,234.50."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def significant(value: float | None) -> str:
    """Format a feature's value: integers in full, others to four significant digits, with thousands separators."""
    if value is None:
        return NOTHING
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if 1e-4 <= abs(value) < 1e4 else f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3e}"


def percent(share: float | None, digits: int = 1) -> str:
    """Format a share of 1 as 12.3 %."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def points(difference: float | None, digits: int = 2) -> str:
    """Format a difference of two shares, in percentage points, with its sign."""
    if difference is None:
        return NOTHING
    return f"{round(100 * difference, digits) or 0.0:+.{digits}f} pp"  # no -0.0


def money(amount: float | None) -> str:
    """Format an amount, in the shop's own currency, which events do not name."""
    return NOTHING if amount is None else f"{amount:,.2f}"


def duration(seconds: float | None) -> str:
    """Format seconds in a suitable unit: 13 ms, 4.2 s, 5 min, 3.1 h, 12 d."""
    if seconds is None:
        return NOTHING
    for limit, unit, text in ((1, 0.001, "ms"), (120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if abs(seconds) < limit:
            value = seconds / unit
            return f"{value:.1f} {text}" if abs(value) < 10 and text != "ms" else f"{value:,.0f} {text}"
    return f"{seconds / 86_400:,.1f} d"


def size(count: float | None) -> str:
    """Format bytes as 12.3 MB."""
    if count is None:
        return NOTHING
    for limit, unit in ((2**20, "KB"), (2**30, "MB"), (2**40, "GB")):
        if abs(count) < limit:
            return f"{count / (limit / 2**10):,.1f} {unit}"
    return f"{count / 2**40:,.1f} TB"


def ago(at_us: int | None, now_us: int) -> str:
    """Format the time before now, or after it (clocks differ)."""
    if at_us is None:
        return "never"
    seconds = (now_us - at_us) / MICROS
    return f"{duration(-seconds)} ahead" if seconds < -1 else f"{duration(max(0.0, seconds))} ago"


def moment(at_us: int | None) -> str:
    """Format a time as 2026-11-21 05:49:30 UTC."""
    return NOTHING if at_us is None else f"{from_micros(at_us):%Y-%m-%d %H:%M:%S} UTC"


def when(text: str | None) -> str:
    """Format a time in the API's notation, as `moment` does."""
    return NOTHING if not text else f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"


def micros(text: str | None) -> int | None:
    """Return UTC microseconds of a time in the API's notation."""
    return None if not text else to_micros(datetime.fromisoformat(text))


def sentence(note: str) -> str:
    """Write a report's note as a sentence."""
    return f"{note[:1].upper()}{note[1:].rstrip('.')}." if note else ""


def plain(text: str) -> str:
    """Escape external text for Streamlit's Markdown, except our own commands in backticks."""
    parts = _OUR_COMMAND.split(printable(" ".join(text.split())))
    return "".join(part if index % 2 else _PUNCTUATION.sub(r"\\\1", part) for index, part in enumerate(parts))


def chart_text(text: str) -> str:
    """Escape external text for Plotly's limited HTML."""
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
