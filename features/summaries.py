"""Aggregates that are lists: how an event is put in, how two are merged, and what is read of one.

Each list is kept in one order and cut by a rule that depends on nothing but its events, so any order of folding and
merging gives the same bytes. No function changes its arguments.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isqrt, sqrt
from typing import Any, NamedTuple

__all__ = [
    "DECAY_TILES",
    "DECAY_UNIT",
    "DECAY_WEIGHTS",
    "MOST_ORDERS",
    "TILES_PER_HALF_LIFE",
    "Summary",
    "counts_of_labels",
    "counts_of_rounded",
    "decayed",
    "distinct_since",
    "events_of_last_session",
    "last_times",
    "last_values",
    "mean_session",
    "order_times",
    "orders",
    "quantile",
    "repeated",
    "rounded",
    "seen",
    "sessions",
    "std_gap",
    "top",
]

Put = Callable[[list[Any] | None, int, Any], list[Any] | None]
Merge = Callable[[list[Any], list[Any]], list[Any]]


class Summary(NamedTuple):
    """A kind of list: `put` adds a value seen at a time (µs) to a list or None; `merge` joins two lists."""

    put: Put
    merge: Merge


def last_values(most: int) -> Summary:
    """The last `most` of [time, value], oldest first; of one time, the greater values are the later ones."""

    def put(old: list[Any] | None, at: int, value: Any) -> list[Any]:
        return _insert(old, [at, value], most)

    return Summary(put, lambda left, right: sorted(left + right)[-most:])


def last_times(most: int) -> Summary:
    """The last `most` times, oldest first."""
    return Summary(lambda old, at, _: _insert(old, at, most), lambda left, right: sorted(left + right)[-most:])


def _insert(old: list[Any] | None, new: Any, most: int) -> list[Any]:
    values = list(old or ())
    insort(values, new)
    return values[-most:]


def seen(most: int) -> Summary:
    """[time, value] of the `most` distinct values that were seen last, each at its last time, oldest first."""

    def merge(left: list[Any], right: list[Any]) -> list[Any]:
        times: dict[Any, int] = {}
        for at, value in (*left, *right):
            times[value] = max(at, times.get(value, at))
        return sorted([at, value] for value, at in times.items())[-most:]

    def put(old: list[Any] | None, at: int, value: Any) -> list[Any] | None:
        if value is None:
            return old
        values = list(old or ())
        for place in range(len(values) - 1, -1, -1):
            if values[place][1] == value:
                if values[place][0] >= at:
                    return values
                del values[place]
                break
        insort(values, [at, value])
        return values[-most:]

    return Summary(put, merge)


def counts_of_labels(most: int) -> Summary:
    """[label, events] in the labels' order, of the `most` first labels in it; events without one do not count.

    A label that is cut off has `most` lesser ones and will always have them, so that its count is never missed.
    """
    return _counts(lambda label: label, most)


def counts_of_rounded(digits: int) -> Summary:
    """[value, events] of values rounded to so many significant digits, ascending."""
    return _counts(lambda value: rounded(value, digits), None)


def _counts(key: Callable[[Any], Any], most: int | None) -> Summary:
    def merge(left: list[Any], right: list[Any]) -> list[Any]:
        counts: dict[Any, int] = {}
        for value, count in (*left, *right):
            counts[value] = counts.get(value, 0) + count
        return [[value, counts[value]] for value in sorted(counts)[:most]]

    def put(old: list[Any] | None, _at: int, value: Any) -> list[Any] | None:
        if value is None:
            return old
        counts, value = list(old or ()), key(value)
        place = bisect_left(counts, [value])
        if place < len(counts) and counts[place][0] == value:
            counts[place] = [value, counts[place][1] + 1]
            return counts
        counts.insert(place, [value, 1])
        return counts[:most]

    return Summary(put, merge)


def rounded(value: int, digits: int) -> int:
    """Round an integer to so many significant digits, halves away from zero: within 5 in 10**`digits` of it."""
    size = abs(value)
    step: int = 10 ** max(len(str(size)) - digits, 0)
    nearest = (size + step // 2) // step * step
    return nearest if value >= 0 else -nearest


def sessions(idle_us: int) -> Summary:
    """[first time, last time, events] of runs of events with at most `idle_us` between neighbours, in their order."""

    def merge(left: list[Any], right: list[Any]) -> list[Any]:
        joined: list[list[int]] = []
        for first, last, events in sorted(left + right):
            if joined and first - joined[-1][1] <= idle_us:
                before = joined[-1]
                joined[-1] = [before[0], max(before[1], last), before[2] + events]
            else:
                joined.append([first, last, events])
        return joined

    return Summary(lambda old, at, _: merge(old or [], [[at, at, 1]]), merge)


MOST_ORDERS = 64
"""How many orders a state keeps."""


def orders(idle_us: int) -> Summary:
    """The last `MOST_ORDERS` orders: [last time, id], or of events without an id in a tile of `idle_us` [last, length].

    Events of such a tile are surely of one order, which took so long; `order_times` joins those that go on into the
    next. What is cut off comes last by (tile of its last time, id), which only grows: whatever joins it later does not
    bring it back, unless as an id whose last time, all that is kept of it, is then this new one.
    """

    def own(entry: list[Any]) -> Any:
        return entry[1] if isinstance(entry[1], str) else entry[0] // idle_us

    def place(entry: list[Any]) -> tuple[int, str]:
        return entry[0] // idle_us, entry[1] if isinstance(entry[1], str) else ""

    def merge(left: list[Any], right: list[Any]) -> list[Any]:
        merged: dict[Any, list[Any]] = {}
        for entry in (*left, *right):
            same = merged.get(own(entry), entry)
            last, name = max(entry[0], same[0]), entry[1]
            if not isinstance(name, str):
                name = last - min(entry[0] - name, same[0] - same[1])
            merged[own(entry)] = [last, name]
        return sorted(merged.values(), key=place)[-MOST_ORDERS:]

    return Summary(lambda old, at, order: merge(old or [], [[at, 0 if order is None else order]]), merge)


def order_times(entries: Sequence[Any] | None, idle_us: int) -> list[int]:
    """Return when `orders` happened, each with its last event, ascending."""
    if not entries or len(entries) == 1:  # as of most pairs
        return [entries[0][0]] if entries else []
    times: list[int] = []
    end: int | None = None
    for last, length in entries:
        if not isinstance(length, str):
            if end is not None and last - length - end <= idle_us:
                times.remove(end)
            end = last
        times.append(last)
    return sorted(times)


def std_gap(times: Sequence[int], unit_us: int) -> float | None:
    """Return the sample standard deviation of the times between neighbours; None for fewer than two gaps."""
    if len(times) < 3:
        return None
    gaps = [following - at for at, following in pairwise(times)]
    count = len(gaps)
    spread = count * sum(gap * gap for gap in gaps) - sum(gaps) ** 2
    return sqrt(spread / (count * (count - 1))) / unit_us


def repeated(times: Sequence[int], settled_us: int, span_us: int) -> int:
    """Count the times up to `settled_us` that another one follows within `span_us`."""
    return sum(1 for at, following in pairwise(times) if at <= settled_us and following - at <= span_us)


def distinct_since(values: Sequence[Any] | None, start_us: int) -> int:
    """Of values with the times at which they were `seen` last, count those seen from a time on."""
    return len(values) - bisect_left(values, [start_us]) if values else 0


def top(counts: Sequence[Any] | None, number: int) -> tuple[int, int]:
    """Return how many events the `number` most frequent labels have, and how many all of them have."""
    events = sorted((count for _, count in counts or ()), reverse=True)
    return sum(events[:number]), sum(events)


def quantile(counts: Sequence[Any] | None, per_mille: int) -> int | None:
    """Return the least value that at least so many of a thousand events do not exceed."""
    if not counts:
        return None
    total, below = sum(count for _, count in counts), 0
    value: int | None = None
    for value, count in counts:
        below += count
        if below * 1000 >= total * per_mille:
            return value
    return value


def mean_session(runs: Sequence[Any] | None, unit_us: int) -> float | None:
    """Return the mean length of sessions in units of `unit_us`; a session of one event has length 0."""
    return sum(last - first for first, last, _ in runs) / (len(runs) * unit_us) if runs else None


def events_of_last_session(runs: Sequence[Any] | None, now_us: int, idle_us: int) -> int:
    """Return the number of events of the session that goes on at a time; 0 where none does."""
    events: int = runs[-1][2] if runs and now_us - runs[-1][1] <= idle_us else 0
    return events


TILES_PER_HALF_LIFE = 8
"""Events of one tile weigh the same, and those of the tile before it 2**(-1/8) of that."""

DECAY_TILES = 8 * TILES_PER_HALF_LIFE
"""Tiles that count: what lies eight half-lives back or more would weigh less than 1/256, and weighs nothing."""

DECAY_WEIGHTS = tuple(isqrt(isqrt(isqrt(1 << (8 * 32 - age)))) for age in range(DECAY_TILES))
"""⌊2**32 * 2**(-age/8)⌋ by a tile's age, as an exact eighth root: integers, so that sums are exact on every engine."""

DECAY_UNIT = 2**32


def decayed(rows: Sequence[int], width: int, column: int, tile: int) -> int:
    """Return the sum of a column of tiles (`features.state.tiles`), weighted by age at a tile, times `DECAY_UNIT`."""
    if not rows:
        return 0
    total, age = 0, tile - rows[0]
    for start in range(0, len(rows), width):
        age += rows[start] if start else 0
        if age >= DECAY_TILES:
            break
        total += rows[start + column] * DECAY_WEIGHTS[age]
    return total
