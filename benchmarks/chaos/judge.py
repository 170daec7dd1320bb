"""The comparison after a run: every feature of every entity, event log and dead letters, with the ground truth."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from chaos.truth import Place, Record, Truth
from data.default_shop import decode_event
from data.event import Event, Rejection
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS, PlacedEvent, placed_table
from features.batch.engine import DuckDBEngine
from features.entities import ENTITIES, Entity
from features.plan.plan import Plan
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from features.state.values import EntityValues
from features.verify.verification import agree

__all__ = ["Compared", "compare_letters", "compare_log", "compare_states", "rewrite"]

_READ = 2_000
_COUNTED = {"view": "view_count", "add_to_cart": "cart_count", "purchase": "purchase_count"}


class Compared(NamedTuple):
    """`lost`, `double`: missing and duplicate events. `wrong`: values or rows that differ. `examples` in words."""

    looked_at: int
    lost: int
    double: int
    wrong: int
    examples: list[str]


def rewrite(truth: Truth, folder: Path, now_us: int) -> tuple[EventLog, dict[Place, Event]]:
    """Write the ground truth as a separate event log; return it, and its events by place."""
    log, events = EventLog(folder), {}
    placed: dict[tuple[str, int], list[PlacedEvent]] = {}
    for place, value in sorted(truth.events.items()):
        event = decode_event(value, key=json.loads(value)["user_id"].encode(), now_us=now_us)
        assert not isinstance(event, Rejection), event
        events[place] = event
        placed.setdefault((place.source, place.partition), []).append(PlacedEvent(place.offset, event))
    for (source, partition), events_placed in placed.items():
        log.append(source, partition, range(events_placed[-1].offset + 1), placed_table(events_placed))
    return log, events


def compare_states(plan: Plan, log: EventLog, events: dict[Place, Event], states: OnlineStates, at_us: int) -> Compared:
    """Compare the states in the store with plain counts, and with every feature in batch over the ground truth."""
    total = Compared(0, 0, 0, 0, [])
    with DuckDBEngine(log) as engine:
        for entity in ENTITIES:
            ids = sorted(_named(entity, events.values()))
            spine = pd.DataFrame(ids, columns=list(entity.join_keys)).assign(time_us=at_us)
            names = [feature.name for feature in plan.of(entity.name).features]
            expected = engine.values(plan, entity.name, spine, names)
            values = _values(plan, entity, ids, states, at_us)
            counted = _compare_counts(entity, ids, events.values(), values)
            # A missing event is missing in a user, a product and a pair, so the maximum counts, not the sum.
            total = _add(total, counted._replace(lost=0, double=0))
            total = total._replace(lost=max(total.lost, counted.lost), double=max(total.double, counted.double))
            total = _add(total, _compare_values(entity, ids, expected, values))
    # States that should not exist: entities without events.
    counts = states.counts()
    for entity in ENTITIES:
        true = len(_named(entity, events.values()))
        if counts[entity.name] != true:
            total = _add(total, Compared(0, 0, 0, 1, [f"{counts[entity.name]} {entity.name} states, not {true}"]))
    return total


def _named(entity: Entity, events: Iterable[Event]) -> set[tuple[str, ...]]:
    """Return the entities of a kind that have events: an event without the label has none."""
    return {ids for event in events if all(ids := _ids(entity, event))}


def _ids(entity: Entity, event: Event) -> tuple[str, ...]:
    return tuple(getattr(event, key) for key in entity.join_keys)


def _values(
    plan: Plan, entity: Entity, ids: list[tuple[str, ...]], states: OnlineStates, at_us: int
) -> dict[str, list[float | int | None]]:
    values = EntityValues(plan.of(entity.name))
    rows = []
    for start in range(0, len(ids), _READ):
        keys = [EntityKey(entity.name, entity_ids) for entity_ids in ids[start : start + _READ]]
        rows += [values.get((state and values.algebra.decode(state)) or None, at_us) for state, _ in states.read(keys)]
    return {name: [row[place] for row in rows] for place, name in enumerate(values.names)}


def _compare_counts(
    entity: Entity, ids: list[tuple[str, ...]], events: Iterable[Event], values: dict[str, list[float | int | None]]
) -> Compared:
    true: Counter[tuple[tuple[str, ...], str]] = Counter((_ids(entity, event), event.event_type) for event in events)
    lost = double = 0
    examples = []
    for event_type, feature in _COUNTED.items():
        if f"{entity.name}_{feature}" not in values:
            continue
        for entity_ids, number in zip(ids, values[f"{entity.name}_{feature}"], strict=True):
            off = int(number or 0) - true[entity_ids, event_type]
            lost, double = lost + max(0, -off), double + max(0, off)
            if off:
                examples.append(f"{entity.name} {entity_ids}: {off:+d} {event_type}")
    return Compared(0, lost, double, 0, examples)


def _compare_values(
    entity: Entity, ids: list[tuple[str, ...]], expected: pa.Table, values: dict[str, list[float | int | None]]
) -> Compared:
    wrong, examples = 0, []
    columns = {name: expected[name].to_pylist() for name in expected.column_names}
    for row, entity_ids in enumerate(ids):
        scale = max((abs(column[row]) for column in columns.values() if isinstance(column[row], float)), default=0.0)
        for name, column in columns.items():
            if column[row] != values[name][row] and not agree(column[row], values[name][row], scale=scale):
                wrong += 1
                examples.append(f"{entity.name} {entity_ids}: {name} {values[name][row]!r}, not {column[row]!r}")
    return Compared(len(ids) * len(columns), 0, 0, wrong, examples[:5])


def _log_table(log: EventLog) -> pa.Table:
    tables = list(log.tables())
    table = pa.concat_tables(tables) if tables else None
    return table and table.sort_by([("source", "ascending"), ("partition", "ascending"), ("offset", "ascending")])


def _places(table: pa.Table) -> Iterator[Place]:
    columns = (table[name].to_pylist() for name in ("source", "partition", "offset"))
    return map(Place, *columns)


def compare_log(log: EventLog, truth: EventLog) -> Compared:
    """Compare every row of the log with the ground truth: the place and all columns."""
    ours, true = _log_table(log), _log_table(truth)
    if ours is None:
        return Compared(0, true.num_rows, 0, 0, ["the log is empty"])
    columns = [*EVENT_COLUMNS.names, "source", "partition", "offset"]
    counts, expected = Counter(_places(ours)), set(_places(true))
    lost = sorted(expected - counts.keys())
    double = sum(number - 1 for number in counts.values())
    foreign = sorted(counts.keys() - expected)
    wrong = len(foreign)
    if not (lost or double or foreign):
        for name in columns:
            wrong += ours.num_rows - (pc.sum(_same(ours[name], true[name])).as_py() or 0)
    examples = [f"log lacks {place}" for place in lost[:3]] + [f"log has {place}" for place in foreign[:3]]
    return Compared(ours.num_rows, len(lost), double, wrong, examples)


def _same(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    return pc.or_(both_null, pc.fill_null(pc.equal(left, right), False))


def compare_letters(truth: Truth, letters: dict[tuple[int, int], Record]) -> tuple[Compared, int]:
    """Compare the dead letters with the poisoned messages; also return how many letters are duplicates."""
    by_place: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for letter in letters.values():
        by_place[int(letter.headers["partition"]), int(letter.headers["offset"])].append(letter)
    poisoned = {(place.partition, place.offset): record for place, record in truth.poison.items()}
    lost = poisoned.keys() - by_place.keys()
    foreign = by_place.keys() - poisoned.keys()
    wrong = sum(
        (letter.key, letter.value) != (poisoned[place].key, poisoned[place].value)
        for place, copies in by_place.items()
        if place in poisoned
        for letter in copies
    )
    examples = [f"no dead letter of {place}" for place in sorted(lost)[:3]]
    examples += [f"dead letter of {place}, {by_place[place][0].headers}" for place in sorted(foreign)[:3]]
    duplicates = len(letters) - len(by_place)
    return Compared(len(letters), len(lost), 0, wrong + len(foreign), examples), duplicates


def _add(left: Compared, right: Compared) -> Compared:
    return Compared(
        left.looked_at + right.looked_at,
        left.lost + right.lost,
        left.double + right.double,
        left.wrong + right.wrong,
        left.examples + right.examples,
    )
