"""Streams of events as a topic holds them, drawn by Hypothesis or made from a few words, and timelines to read."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from data.default_shop import EVENT_TYPES, SHOP, ShopEvent
from data.event import Event
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS, PlacedEvent, placed_table
from data.log.log import Log
from data.log.sources import topic_source
from data.schema import Schema
from data.units import DAY_US, HOUR_US, MINUTE_US, from_micros
from events.stream.log_buffer import LogBuffer
from features.facts import fact_maker
from features.state.fold import Sourced

__all__ = [
    "START_US",
    "TOPIC",
    "Act",
    "Placed",
    "act",
    "as_history",
    "as_log",
    "batches",
    "moments",
    "place",
    "shop",
    "sourced",
    "streams",
    "timeline",
]

START_US = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC: a border of every tile."""

TOPIC = b"topic-no-one-id1"

_Log = TypeVar("_Log", bound=Log)

_USERS = ("u", "ü ber", "🛒👩‍👩‍👧", "a", "none", "\U000e0100x", "x" * 128)
_PRODUCTS = ("p", "bc", "プロ:1", "ab", "'; --", "\u0301e")
_PRINTABLE_USERS = tuple(user for user in _USERS if user.isprintable())
_PRINTABLE_PRODUCTS = tuple(product for product in _PRODUCTS if product.isprintable())

_AMOUNTS = (0.0, 0.01, 0.1, 12.34, 99.99, 1e15)


class Placed(NamedTuple):
    """An event and where its topic has it."""

    event: Event
    partition: int
    offset: int


class Act(NamedTuple):
    """An event in a few words; `at` is µs after START_US."""

    kind: str
    user: str
    product: str
    at: int
    amount: float = 1.0


def act(act: Act, event_id: str) -> Event:
    """The act as an event."""
    at = from_micros(START_US + act.at)
    return ShopEvent(event_id, act.kind, act.user, act.product, act.amount, at)


def place(
    events: Iterable[Event], partitions: int = 2, *, first_offset: int = 0, ordered_by: str = "user_id"
) -> list[Placed]:
    """Events in arrival order, each in its user's partition."""
    offsets = [count(first_offset) for _ in range(partitions)]
    placed = []
    for event in events:
        partition = zlib.crc32(getattr(event, ordered_by).encode()) % partitions
        placed.append(Placed(event, partition, next(offsets[partition])))
    return placed


def sourced(placed: Iterable[Placed], schema: Schema = SHOP) -> list[Sourced]:
    """What a fold takes."""
    make = fact_maker(schema)
    return [Sourced(make(event), partition, offset) for event, partition, offset in placed]


def as_log(log: _Log, placed: Sequence[Placed], topic: bytes = TOPIC, *, rows_per_file: int = 7) -> _Log:
    """Write them into the log as the stream worker does, in several files."""
    source = topic_source(topic)
    buffer = LogBuffer(log, source)
    ends = log.ends(source)
    for partition in {one.partition for one in placed}:
        buffer.begin(partition, ends.get(partition, -1) + 1)
    for number, one in enumerate(placed, 1):
        buffer.add(one.partition, PlacedEvent(one.offset, one.event))
        buffer.advance(one.partition, one.offset + 1)
        if number % rows_per_file == 0:
            buffer.flush()
    buffer.flush()
    return log


def as_history(log: EventLog, events: Iterable[Event]) -> None:
    """Write them into the log as an imported history."""
    placed = [PlacedEvent(number, event) for number, event in enumerate(events)]
    log.write_history("shop", [placed_table(placed).select(EVENT_COLUMNS.names)])


def shop(number: int, *, first: int = 0) -> list[Event]:
    """Purchases and views by ten users, an hour apart."""
    return [
        act(Act(("purchase", "view")[n % 2], f"ü{n % 10}", f"p{n % 3}", n * HOUR_US, n / 4), f"e{n}")
        for n in range(first, first + number)
    ]


def batches(placed: Sequence[Placed], draw: Callable[[int], int]) -> Iterator[list[Placed]]:
    """Micro-batches as a group of workers with restarts would take them: every partition in offset order, but
    partitions in any order, ranges delivered again, offsets twice in one batch. `draw(n)` is a number below n."""
    waiting = {number: [one for one in placed if one.partition == number] for number in {p.partition for p in placed}}
    done: dict[int, int] = dict.fromkeys(waiting, 0)
    while waiting:
        number = sorted(waiting)[draw(len(waiting))]
        here = waiting[number]
        start = max(0, done[number] - draw(4))  # a restart: what was not committed comes again
        end = min(len(here), done[number] + 1 + draw(6))
        batch = here[start:end]
        if draw(3) == 0:
            batch = sorted(batch + batch[: draw(3)], key=lambda one: one.offset)
        yield batch
        done[number] = end
        if end == len(here):
            del waiting[number]


def moments(days: int = 40) -> st.SearchStrategy[int]:
    """Times within some days of START_US: mostly about the borders of tiles, often the same."""
    borders = st.builds(
        lambda unit, number, off: unit * number + off,
        st.sampled_from([5 * MINUTE_US, HOUR_US, DAY_US]),
        st.integers(0, 45),
        st.sampled_from([-1, 0, 0, 1]),
    )
    anywhere = st.integers(0, days * DAY_US)
    return st.one_of(borders, anywhere).map(lambda at: START_US + min(max(at, 0), days * DAY_US))


@st.composite
def streams(
    draw: st.DrawFn, *, most: int = 30, amounts: st.SearchStrategy[float] | None = None, partitions: int = 2
) -> list[Placed]:
    """Events of a few users and products in the order they arrive, which is not that of their times."""
    amounts = amounts or st.sampled_from(_AMOUNTS) | st.floats(0, 1000).map(lambda amount: round(amount, 2))
    facts = st.tuples(
        st.sampled_from((*EVENT_TYPES, "purchase", "view")),
        st.sampled_from(_PRINTABLE_USERS[: draw(st.integers(1, len(_PRINTABLE_USERS)))]),
        st.sampled_from(_PRINTABLE_PRODUCTS),
        amounts,
        moments(),
        st.integers(1, 3),
        st.sampled_from((None, "", "toys", "a", "ü 🧸", "プロ")),
        st.sampled_from((None, "phone", "tablet", "desk")),
        st.sampled_from((0, 0.5, 0.000001)),
        st.sampled_from((None, None, "1", "2", "", "ö 3")),
    )
    drawn = draw(st.lists(facts, min_size=1, max_size=most))
    ranks = draw(st.permutations(range(len(drawn))))
    events = [
        ShopEvent(
            f"e{ranks[number]:03d}",
            kind,
            user,
            product,
            amount,
            from_micros(at),
            quantity,
            discount,
            category=category,
            device=device,
            order_id=order,
        )
        for number, (kind, user, product, amount, at, quantity, category, device, discount, order) in enumerate(drawn)
    ]
    return place(events, partitions)


def timeline(placed: Iterable[Placed], *cutoffs_us: int) -> str:
    """Events and cutoffs in the order of their times, a line each."""
    lines = [
        (
            one.event.timestamp_us,
            f"{one.event.timestamp.isoformat():32}  {one.event.event_type:16} "
            + " ".join(f"{name}={getattr(one.event, name)!a}" for name in _shown(one.event))
            + f"  [{one.event.event_id}, partition {one.partition}, offset {one.offset}]",
        )
        for one in placed
    ]
    lines += [(cutoff, f"{from_micros(cutoff).isoformat():32}  ---- asked ----") for cutoff in cutoffs_us]
    return "\n" + "\n".join(line for _, line in sorted(lines))


def _shown(event: Event) -> list[str]:
    """The declared columns that an event has."""
    always = {"event_id", "event_type", "timestamp", "session_id", "metadata"}
    return [name for name in event.__struct_fields__ if name not in always and getattr(event, name) is not None]
