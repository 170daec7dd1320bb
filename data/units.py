"""Units of time and money as integers, and conversions between datetimes and microseconds."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing pandas takes half a second
    import pandas as pd

__all__ = [
    "DAY_US",
    "HOUR_US",
    "MICROS",
    "MINUTE_US",
    "from_micros",
    "series_micros",
    "span",
    "to_micros",
    "utc_micros",
]

MICROS = 1_000_000
"""Microseconds in a second, and micro-units in one unit of money."""

MINUTE_US = 60 * MICROS
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_micros(moment: datetime) -> int:
    """Return UTC microseconds since 1970 of a datetime with a zone, without rounding through a float."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * MICROS + delta.microseconds


def utc_micros(moment: datetime) -> int:
    """Return microseconds as `to_micros` does; a datetime without a zone is taken as UTC."""
    return to_micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def from_micros(micros: int) -> datetime:
    """Return the UTC datetime of microseconds since 1970."""
    seconds, rest = divmod(micros, MICROS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def span(length_us: float) -> str:
    """Return a length of time, µs, in words: 30 days, 24 hours, 1 hour."""
    for unit_us, name in ((DAY_US, "day"), (HOUR_US, "hour"), (MINUTE_US, "minute")):
        if length_us >= (2 * unit_us if name == "day" else unit_us):
            count = length_us / unit_us
            return f"{count:.4g} {name}" + ("" if count == 1 else "s")
    return f"{length_us / MICROS:.4g} seconds"


def series_micros(times: "pd.Series") -> "pd.Series":
    """Return microseconds, as `to_micros` does, of a pandas column of times with a zone."""
    return times.astype("datetime64[us, UTC]").astype("int64")
