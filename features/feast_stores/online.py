"""Feast's online store over the states in Redis: values as of now, through the reader that the server uses."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from feast import Entity as FeastEntity
from feast import FeatureService, FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import SecretStr

from data.clock import Clock, ManualClock, wall_clock
from data.errors import LayoutError
from data.log.identity import read_identity
from data.schema import Schema
from data.units import from_micros, utc_micros
from features.batch.backfill import Backfilled
from features.batch.materializer import materialize
from features.feast_stores.config import entity_of, log_of, plan_of
from features.feast_stores.ids import rows_of_texts
from features.feast_stores.views import STATE_FEATURE
from features.state.algebra import DAMAGE
from features.state.editions.editions import Editions, Opened
from features.state.editions.standing import Edition, live_edition
from features.state.fence import Fence
from features.state.online.access import RedisAccess
from features.state.online.owner import Ownership
from features.state.online.states import OnlineStates
from features.state.states import EntityKey, Stored
from features.state.values import EntityValues, Value

__all__ = ["EncoreOnlineStore", "EncoreOnlineStoreConfig"]

_log = logging.getLogger(__name__)

_TIMEOUT_S = 60.0

Row = tuple[datetime | None, dict[str, ValueProto] | None]


class EncoreOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings: `home`, `declared` and `storage` as in the offline store.

    `host` to `cluster` are those of `RedisAccess`. `clock`: `wall`, or `events`, where now is the newest event folded.
    """

    type: Literal["features.feast_stores.online.EncoreOnlineStore"] = "features.feast_stores.online.EncoreOnlineStore"
    home: str = "../../.encore"
    declared: str = ""
    storage: str = ""
    host: str = "127.0.0.1"
    port: int = 6379
    username: str | None = None
    password: SecretStr | None = None
    tls: bool = False
    ca: str | None = None
    cluster: bool = False
    clock: Literal["wall", "events"] = "wall"

    @property
    def access(self) -> RedisAccess:
        """Authentication settings for Redis."""
        return RedisAccess(
            host=self.host,
            port=self.port,
            username=self.username,
            password=self.password.get_secret_value() if self.password else None,
            tls=self.tls,
            ca=self.ca,
            cluster=self.cluster,
        )


class EncoreOnlineStore(OnlineStore):  # type: ignore[misc]
    """Reads states and computes values as of now.

    Writes the states that materialization brings, behind their fences.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clock: Clock = wall_clock
        self._editions: Editions | None = None
        self._encoded = b""
        self._live: Opened | None = None
        self._values: dict[tuple[str, tuple[str, ...]], EntityValues] = {}

    def get_online_features(
        self, config: RepoConfig, features: Any, entity_rows: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Answer as Feast does, with ids by the rule of history (`features.feast_stores.ids`)."""
        rows = rows_of_texts(entity_rows, _id_columns(features, self.live(config).plan.schema))
        return super().get_online_features(config, features, rows, *args, **kwargs)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKeyProto],
        requested_features: list[str] | None = None,
    ) -> list[Row]:
        """Return the features of each entity as of now; an unknown entity has zero counts, nulls and no time.

        An entity whose state is damaged is not found, nor is one without an id: its features are unknown.
        """
        live = self.live(config)
        if table.name not in {entity.view for entity in live.plan.schema.entities}:
            return [(None, None)] * len(entity_keys)  # it is new, and answers from the rollout on
        entity, states = entity_of(live.plan, table.name).entity, live.states
        keys = [_key(entity, proto) for proto in entity_keys]
        stored = states.read(keys)
        now_us = self._now(config, states)
        names = tuple(requested_features or [feature.name for feature in table.features])
        values = self._entity_values(live, entity, names)
        return [
            _row(state, values, names, now_us) if all(key.ids) else (None, None)
            for key, state in zip(keys, stored, strict=True)
        ]

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write the packed states in `state`; other features are not stored but computed when read."""
        live = self.live(config)
        plan = entity_of(live.plan, table.name)
        rebuilt = [
            Backfilled(
                _key(plan.entity, proto), *Backfilled.unpack(row[STATE_FEATURE].bytes_val), utc_micros(event_time)
            )
            for proto, row, event_time, _ in data
        ]
        materialize(live.states, rebuilt, plan, log_of(config.online_store, config.repo_path))
        if progress:
            progress(len(data))

    def update(  # noqa: PLR0917 - Feast's signature
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[FeastEntity],
        entities_to_keep: Sequence[FeastEntity],
        partial: bool,
    ) -> None:
        """Do nothing: Redis has no schema."""

    def teardown(
        self,
        config: RepoConfig,
        tables: Sequence[FeatureView],  # noqa: ARG002 - Feast's signature
        entities: Sequence[FeastEntity],  # noqa: ARG002 - Feast's signature
    ) -> None:
        """Delete every state that answers."""
        self.live(config).states.clear()

    def stop_clock(self, at_us: int) -> None:
        """Answer as of `at_us` (UTC microseconds) from now on, whatever the configured clock."""
        self._clock = ManualClock(at_us)

    def live(self, config: RepoConfig) -> Opened:
        """Return the edition that answers now in the configured Redis."""
        if self._editions is None:
            client = config.online_store.access.connect(timeout_s=_TIMEOUT_S)
            log = log_of(config.online_store, config.repo_path)
            Ownership(client, config.project).require(read_identity(log.storage))
            self._editions = Editions(client, config.project)
        encoded = self._editions.stored()
        if self._live is None or encoded != self._encoded:
            if (live := live_edition(encoded)) is not None:
                self._live = self._editions.open(live)
            else:
                self._live = self._editions.opened(Edition(), plan_of(config.online_store, config.repo_path))
            self._encoded = encoded
            self._values.clear()
        return self._live

    def _now(self, config: RepoConfig, states: OnlineStates) -> int:
        if config.online_store.clock == "events" and self._clock is wall_clock:
            return states.newest_event() or wall_clock()
        return self._clock()

    def _entity_values(self, live: Opened, entity: str, names: tuple[str, ...]) -> EntityValues:
        if (entity, names) not in self._values:
            self._values[entity, names] = EntityValues(live.plan.of(entity), names)
        return self._values[entity, names]


def _id_columns(features: Any, schema: Schema) -> set[str]:
    """Return the names under which ids may come: join keys, and what a feature service calls them."""
    projections = features.feature_view_projections if isinstance(features, FeatureService) else ()
    renamed = {name for projection in projections for name in projection.join_key_map.values()}
    return renamed.union(*(entity.join_keys for entity in schema.entities))


def _key(entity: str, proto: EntityKeyProto) -> EntityKey:
    values = dict(zip(proto.join_keys, proto.entity_values, strict=True))
    return EntityKey(entity, tuple(values[key].string_val for key in sorted(values)))


def _row(stored: Stored, values: EntityValues, names: tuple[str, ...], now_us: int) -> Row:
    try:
        return _sound_row(stored, values, names, now_us)
    except LayoutError:
        raise  # all states are of another layout then
    except DAMAGE as error:
        _log.error("a %s state is answered as not found: %s", values.algebra.plan.entity, error)
        return None, None


def _sound_row(stored: Stored, values: EntityValues, names: tuple[str, ...], now_us: int) -> Row:
    state = values.algebra.decode(stored.state) if stored.state else None
    last = None if state is None else values.algebra.last_event(state)
    answers = dict(zip(values.names, values.get(state, now_us), strict=True))
    row = {name: _proto(answers[name]) for name in names if name in answers}
    if STATE_FEATURE in names and stored.state:
        fence = Fence.decode(stored.fence)
        key = EntityKey(values.algebra.plan.entity, ())
        row[STATE_FEATURE] = ValueProto(bytes_val=Backfilled(key, stored.state, fence, last or 0).pack())
    return (None if last is None else from_micros(last)), row


def _proto(value: Value) -> ValueProto:
    match value:
        case None:
            return ValueProto()
        case int():
            return ValueProto(int64_val=value)
    return ValueProto(double_val=value)
