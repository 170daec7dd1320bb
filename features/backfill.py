"""States folded from the whole event log at once, with the fences at which the stream goes on.

The log is the truth: a state from it holds every logged event of its entity. Its fence holds, per partition of the
newest topic in the log, the last offset of that entity that is in it.
"""

from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple

import ibis
import ibis.expr.types as ir
import msgspec

from data.errors import StateError
from features.entities import USER_PRODUCT, Entity, entity_named
from features.fence import Fence
from features.online import EntityKey
from features.plan import Aggregate, EntityPlan, TileSet
from features.state import Algebra, State

__all__ = ["TOPIC_SOURCE", "Backfilled", "entity_states", "newest_topic", "state_rows"]

TOPIC_SOURCE = "kafka-"
"""Sources of the log that are topics begin so; the topic's id in hexadecimal follows."""

_HALF = 10**10
"""Squares are summed in halves: 1e15 in micro-units, squared, is past 38 digits."""


class Backfilled(NamedTuple):
    """One entity's state from the log: its key, the state's bytes, the fence, and the newest event's time (µs)."""

    key: EntityKey
    state: bytes
    fence: Fence
    last_event_us: int

    def pack(self) -> bytes:
        """State and fence in one value, as Feast carries them (the `state` feature)."""
        return msgspec.msgpack.encode((self.state, self.fence.encode()))

    @staticmethod
    def unpack(data: bytes) -> tuple[bytes, Fence]:
        """State and fence of a packed value; StateError where it is none."""
        try:
            state, fence = msgspec.msgpack.decode(data, type=tuple[bytes, bytes])
        except msgspec.MsgspecError as error:
            raise StateError(f"state feature: not a packed state ({error})") from error
        return state, Fence.decode(fence)


def newest_topic(sources: list[str]) -> str:
    """The source that is the newest topic; empty where none is a topic."""
    return next((source for source in reversed(sources) if source.startswith(TOPIC_SOURCE)), "")


def entity_states(events: ir.Table, plan: EntityPlan, topic: str) -> ir.Table:
    """A row per entity in the log: join keys and all that `state_rows` makes a state of.

    `events` has the log's columns, with `time_us` and exact `amount` and `quantity`; `topic` is the newest topic's
    source.
    """
    entity = entity_named(plan.entity)
    keys = list(entity.join_keys)
    parts = [_slots(events, plan, keys)]
    parts += [_distincts(events, aggregate, keys, place) for place, aggregate in _distinct_slots(plan)]
    parts += [_tiles(events, tile_set, keys, place) for place, tile_set in enumerate(plan.tile_sets)]
    parts += [_first(events, event_type, topic, place) for place, event_type in enumerate(plan.firsts)]
    parts.append(_fences(events, topic, entity))
    return reduce(lambda left, right: left.left_join(right, keys).drop(*[f"{key}_right" for key in keys]), parts)


def state_rows(rows: ir.Table, plan: EntityPlan, topic: str, connection: Any) -> Iterator[Backfilled]:
    """The states of `entity_states`, one at a time, without holding them all."""
    algebra = Algebra(plan)
    topic_id = bytes.fromhex(topic.removeprefix(TOPIC_SOURCE))
    join_keys = entity_named(plan.entity).join_keys
    for batch in connection.to_pyarrow_batches(rows, chunk_size=10_000):
        for row in batch.to_pylist():
            state = _state(row, plan, algebra)
            offsets = dict(zip(row["fence_partitions"] or [], row["fence_offsets"] or [], strict=True))
            key = EntityKey(plan.entity, tuple(row[key] for key in join_keys))
            last = algebra.last_event(state)
            yield Backfilled(key, algebra.encode(state), Fence(topic_id, offsets), last or 0)


def _state(row: dict[str, Any], plan: EntityPlan, algebra: Algebra) -> State:
    state = algebra.empty()
    for place, aggregate in enumerate(plan.slots):
        value = row[f"slot_{place}"]
        match aggregate.kind:
            case "squares":
                high, mixed, low = (int(part or 0) for part in value.values())
                state.slots[place] = (high * _HALF + 2 * mixed) * _HALF + low
            case "first" | "last":
                state.slots[place] = value and [int(value["time"]), value["id"], int(value["value"])]
            case _ if value is not None:
                state.slots[place] = int(value)
    for place, columns in enumerate(state.tiles):
        for number, column in enumerate(columns):
            column.extend(map(int, row[f"tiles_{place}_{number}"] or []))
    for place in range(len(plan.firsts)):
        first = row[f"first_{place}"]
        state.firsts[place] = first and (int(first["partition"]), int(first["offset"]))
    return state


def _slots(events: ir.Table, plan: EntityPlan, keys: list[str]) -> ir.Table:
    slots = {
        f"slot_{place}": _aggregate(events, aggregate)
        for place, aggregate in enumerate(plan.slots)
        if aggregate.kind != "distinct"
    }
    return events.group_by(keys).aggregate(**slots)


def _aggregate(events: ir.Table, aggregate: Aggregate) -> Any:
    of_type = (events.event_type == aggregate.where) if aggregate.where else None
    value: Any = events[aggregate.column] if aggregate.column in events.columns else None
    time = events.time_us
    exact_time = time.cast("decimal(38, 0)")
    match aggregate.kind:
        case "count":
            return events.count(where=of_type)
        case "sum":
            return value.sum(where=of_type).fill_null(0)
        case "squares":
            high, low = (value // _HALF).cast("decimal(38, 0)"), (value % _HALF).cast("decimal(38, 0)")
            parts = {"high": high * high, "mixed": high * low, "low": low * low}
            return ibis.struct({n: p.cast("decimal(38, 0)").sum(where=of_type) for n, p in parts.items()})
        case "time_sum":
            return exact_time.sum(where=of_type).fill_null(0)
        case "time_squares":
            return (exact_time * exact_time).cast("decimal(38, 0)").sum(where=of_type).fill_null(0)
        case "time_products":
            return (exact_time * value).cast("decimal(38, 0)").sum(where=of_type).fill_null(0)
        case "min":
            return value.min(where=of_type)
        case "max":
            return value.max(where=of_type)
        case "first_time":
            return time.min(where=of_type)
        case "last_time":
            return time.max(where=of_type)
        case "first" | "last":
            edge = ibis.struct({"time": time, "id": events.event_id, "value": value})
            return edge.min(where=of_type) if aggregate.kind == "first" else edge.max(where=of_type)
    raise TypeError(f"{aggregate} is not folded from the log")


def _distinct_slots(plan: EntityPlan) -> list[tuple[int, Aggregate]]:
    return [(place, aggregate) for place, aggregate in enumerate(plan.slots) if aggregate.kind == "distinct"]


def _distincts(events: ir.Table, aggregate: Aggregate, keys: list[str], place: int) -> ir.Table:
    pairs = events.filter(events.event_type == aggregate.where).select(*USER_PRODUCT.join_keys).distinct()
    return pairs.group_by(keys).aggregate(**{f"slot_{place}": pairs.count()})


def _tiles(events: ir.Table, tile_set: TileSet, keys: list[str], place: int) -> ir.Table:
    wheres = {aggregate.where for aggregate in tile_set.columns}
    touching = events if "" in wheres else events.filter(events.event_type.isin(sorted(wheres)))
    touching = touching.mutate(tile=(touching.time_us - touching.time_us % tile_set.hop_us) // tile_set.hop_us)
    columns = {f"c{n}": _aggregate(touching, aggregate) for n, aggregate in enumerate(tile_set.columns)}
    tiles = touching.group_by([*keys, "tile"]).aggregate(**columns)
    newest = ibis.window(group_by=keys)
    kept = tiles.mutate(newest=tiles.tile.max().over(newest)).filter(ibis._.tile > ibis._.newest - tile_set.span)
    lists = {f"tiles_{place}_0": kept.tile.collect(order_by=kept.tile)}
    for number in range(len(tile_set.columns)):
        lists[f"tiles_{place}_{1 + number}"] = kept[f"c{number}"].collect(order_by=kept.tile)
    return kept.group_by(keys).aggregate(**lists)


def _first(events: ir.Table, event_type: str, topic: str, place: int) -> ir.Table:
    """Where in the topic a pair saw its first event of a type; null where it saw one before the topic."""
    of_type = events.filter(events.event_type == event_type)
    here = of_type.source == topic
    spot = ibis.struct({"partition": of_type.partition, "offset": of_type["offset"]})
    pairs = of_type.group_by(list(USER_PRODUCT.join_keys)).aggregate(spot=spot.min(where=here), before=(~here).any())
    return pairs.filter(~pairs.before).select(*USER_PRODUCT.join_keys, **{f"first_{place}": pairs.spot})


def _fences(events: ir.Table, topic: str, entity: Entity) -> ir.Table:
    keys = list(entity.join_keys)
    last = events.filter(events.source == topic).group_by([*keys, "partition"])
    ends = last.aggregate(end=ibis._["offset"].max())
    return ends.group_by(keys).aggregate(
        fence_partitions=ends.partition.collect(order_by=ends.partition),
        fence_offsets=ends.end.collect(order_by=ends.partition),
    )
