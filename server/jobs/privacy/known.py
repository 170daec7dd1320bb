"""The data of a person: events, predictions, feature values, and the models that learned from them."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from data.clock import wall_clock
from data.errors import EncoreError, UnavailableError
from data.log.person import Person
from data.schema import Entity
from data.units import from_micros
from features.state.algebra import DAMAGE
from features.state.states import EntityKey
from features.state.values import EntityValues
from server.event_log import open_log
from server.jobs.privacy.receipt import Learned
from server.published import open_registry
from server.redis.connections import connect_redis
from server.redis.editions import open_live
from server.redis.ownership import require_own
from server.scoring.kept_predictions import open_archive
from server.settings import Settings

__all__ = ["export_person", "models_that_learned", "touched_by"]


def export_person(settings: Settings, person: Person) -> dict[str, Any]:
    """Return all data of a person in the log, the states and the predictions, as plain values."""
    log = open_log(settings)
    tables = list(log.events_of(person))
    events = [_plain(row) for table in tables for row in table.to_pylist()]
    for event in events:
        event["metadata"] = event["metadata"] and msgspec.json.decode(event["metadata"])
    predictions = [_plain(row) for row in open_archive(settings).predictions_of(person)]
    for prediction in predictions:
        for name in ("features", "receipt"):
            prediction[name] = prediction.get(name) and msgspec.json.decode(prediction[name])
    return {
        "person": {person.key: person.value},
        "at": from_micros(wall_clock()).isoformat(),
        "events": events,
        "states": _states(settings, person),
        "predictions": predictions,
        "models": [msgspec.to_builtins(model) for model in models_that_learned(settings, tables)],
    }


def touched_by(
    tables: Iterable[pa.Table], entities: Sequence[Entity], person: Person
) -> dict[str, set[tuple[str, ...]]]:
    """Return the entities of events whose keys do not include the person: ids by comma-separated key names."""
    touched: dict[str, set[tuple[str, ...]]] = {}
    for table in tables:
        for entity in entities:
            keys = list(entity.join_keys)
            if person.key in keys or not set(keys) <= set(table.column_names):
                continue
            rows = table.select(keys).group_by(keys).aggregate([]).to_pylist()
            ids = {tuple(row[key] for key in keys) for row in rows}
            touched.setdefault(",".join(keys), set()).update(entity_ids for entity_ids in ids if all(entity_ids))
    return touched


def models_that_learned(settings: Settings, tables: Sequence[pa.Table]) -> list[Learned]:
    """Return the published models that may have learned from one of these events, by time and trigger."""
    registry, learned = open_registry(settings), []
    for target in registry.targets():
        for version in registry.versions(target):
            try:
                metadata = registry.metadata(target, version)
            except EncoreError:  # damaged: the server refuses it, and says why
                continue
            question, parts = metadata.asked, metadata.parts.values()
            # A later question is asked up to two horizons after the event that triggered it.
            first = min(part.first for part in parts) if parts else metadata.created
            last = max(part.last for part in parts) if parts else metadata.created
            lag_us = 2 * question.horizon_us if question.asked_later else 0
            if any(_asks(table, question.trigger, first, last, lag_us) for table in tables):
                learned.append(Learned(target, version, metadata.examples < metadata.candidates))
    return learned


def _asks(table: pa.Table, triggers: Iterable[str], first: Any, last: Any, lag_us: int) -> bool:
    times, at = pa.timestamp("us", tz="UTC"), table.column("timestamp")
    in_time = pc.and_(
        pc.greater_equal(at, pc.subtract(pa.scalar(first, times), pa.scalar(lag_us, pa.duration("us")))),
        pc.less_equal(at, pa.scalar(last, times)),
    )
    asks = pc.is_in(table.column("event_type"), pa.array(list(triggers), pa.string()))
    return bool(pc.any(pc.and_(in_time, asks)).as_py())


def _states(settings: Settings, person: Person) -> list[dict[str, Any]]:
    """Return the present feature values of all entities whose keys include the person."""
    with connect_redis(settings, timeout_s=30) as client:
        require_own(settings, client)
        live = open_live(client, settings)
        keys = sorted(live.states.naming(*person), key=lambda key: (key.entity, key.ids))
        at_us = max(wall_clock(), live.states.newest_event() or 0)
        stored_states = live.states.read(keys)
    return [
        {"entity": key.entity, **_named(live.plan.schema.entity(key.entity), key), "features": values}
        for key, stored in zip(keys, stored_states, strict=True)
        if (values := _values(EntityValues(live.plan.of(key.entity)), stored.state, at_us)) is not None
    ]


def _named(entity: Entity, key: EntityKey) -> dict[str, str]:
    return dict(zip(entity.join_keys, key.ids, strict=True))


def _values(of: EntityValues, state: bytes, at_us: int) -> dict[str, Any] | None:
    try:
        return dict(zip(of.names, of.get(of.algebra.decode(state), at_us), strict=True)) if state else None
    except DAMAGE as error:
        raise UnavailableError(f"a state cannot be read ({error}); a worker makes it anew: run this again") from error


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
