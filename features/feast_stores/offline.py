"""Feast's offline store over the event log: features computed from the compiled definitions, point in time."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from data.errors import DataError
from data.log.event_log import EventLog
from data.schema import Entity, Schema
from data.units import from_micros, series_micros
from features.batch.engine import DuckDBEngine, Engine
from features.batch.open import open_engine
from features.feast_stores.config import log_of, plan_of
from features.feast_stores.ids import id_texts
from features.feast_stores.views import STATE_FEATURE
from features.plan.plan import Plan

__all__ = ["EncoreOfflineStore", "EncoreOfflineStoreConfig"]


class EncoreOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings: `home` is the folder of Encore's state, `declared` that of the project; `storage`: see `StoreConfig`.

    Both are absolute, or relative to the Feast repo. `memory` is DuckDB's limit. `engine` computes historical features,
    on Spark under `spark_master`; states are always made on DuckDB.
    """

    type: Literal["features.feast_stores.offline.EncoreOfflineStore"] = (
        "features.feast_stores.offline.EncoreOfflineStore"
    )
    home: str = "../../.encore"
    declared: str = ""
    storage: str = ""
    memory: str = "2GB"
    engine: Literal["duckdb", "spark"] = "duckdb"
    spark_master: str = "local[*]"


def _plan_and_log(config: RepoConfig) -> tuple[Plan, EventLog]:
    return plan_of(config.offline_store, config.repo_path), log_of(config.offline_store, config.repo_path)


class EncoreOfflineStore(OfflineStore):  # type: ignore[misc]
    """Computes features from the log when asked. Nothing is written through it: the stream writes the log."""

    @staticmethod
    def get_historical_features(  # noqa: PLR0917 - Feast's signature
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **_: Any,
    ) -> RetrievalJob:
        """Return a job for the features of every row of `entity_df`, as `/features` would have answered at its time.

        `entity_df` has the views' join keys (`id_texts` says which are ids) and a time column with a zone. Of a row
        without an id the features of that entity are null, and so is `state`, which has no past.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise DataError("get_historical_features: give entity_df as a pandas DataFrame; SQL is not supported")
        time_column = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        times = _micros(entity_df, time_column)
        refs = [tuple(ref.split(":", 1)) for ref in feature_refs]
        output_names = {f"{view}__{name}" if full_feature_names else name for view, name in refs}
        if twice := sorted(output_names.intersection(map(str, entity_df.columns))):
            raise DataError(
                f"entity_df: the column {', '.join(twice)} has the name of a feature that is asked for; rename it, or "
                "ask with full_feature_names=True"
            )

        def compute() -> pa.Table:
            answer = pa.Table.from_pandas(_alike(entity_df, feature_views), preserve_index=False)
            plan, log = _plan_and_log(config)
            store = config.offline_store
            with open_engine(log, on=store.engine, memory=store.memory, master=store.spark_master) as engine:
                for view in feature_views:
                    view_name = view.projection.name_to_use()
                    names = [feature for ref_view, feature in refs if ref_view == view_name]
                    entity = _entity(plan.schema, [column.name for column in view.entity_columns])
                    spine = _spine(entity_df, view.projection.join_key_map, entity).assign(time_us=times)
                    values = _values(engine, plan, entity, spine, names)
                    for name in names:
                        column = f"{view_name}__{name}" if full_feature_names else name
                        answer = answer.append_column(column, values[name])
            return answer

        return _Job(
            compute,
            OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            full_feature_names,
            RetrievalMetadata(
                features=feature_refs,
                keys=[column for column in entity_df.columns if column != time_column],
                min_event_timestamp=from_micros(min(times, default=0)),
                max_event_timestamp=from_micros(max(times, default=0)),
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: PLR0917 - Feast's signature
        config: RepoConfig,
        data_source: DataSource,  # noqa: ARG004 - there is one source: the log
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,  # noqa: ARG004 - the log has none
        start_date: datetime,  # noqa: ARG004 - see below
        end_date: datetime,  # noqa: ARG004 - see below
    ) -> RetrievalJob:
        """Return a job for every entity's state, folded from the whole log whatever the dates.

        A state answers for any later time, and a state of part of the log would leave a gap below its fence. The plain
        features stay null: they are computed when read.
        """

        def compute() -> pa.Table:
            plan, log = _plan_and_log(config)
            entity = _entity(plan.schema, join_key_columns)
            with DuckDBEngine(log, memory=config.offline_store.memory) as engine:
                states = list(engine.states(plan.of(entity.name)))
            columns = {
                **{key: pa.array([s.key.ids[place] for s in states]) for place, key in enumerate(entity.join_keys)},
                **{name: pa.nulls(len(states), pa.float64()) for name in feature_name_columns},
                timestamp_field: pa.array([s.last_event_us for s in states], pa.timestamp("us", tz="UTC")),
            }
            columns[STATE_FEATURE] = pa.array([s.pack() for s in states], pa.binary())
            return pa.table(columns)

        return _Job(compute, [], full_feature_names=False, metadata=None)

    @staticmethod
    def pull_all_from_table_or_query(  # noqa: PLR0917 - Feast's signature
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Return what `pull_latest_from_table_or_query` does: an entity has one state."""
        return EncoreOfflineStore.pull_latest_from_table_or_query(
            config,
            data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            start_date or datetime.min.replace(tzinfo=UTC),
            end_date or datetime.max.replace(tzinfo=UTC),
        )


class _Job(RetrievalJob):  # type: ignore[misc]
    """A computation that runs once, when its result is first asked for."""

    def __init__(
        self,
        compute: Callable[[], pa.Table],
        on_demand: list[OnDemandFeatureView],
        full_feature_names: bool,
        metadata: RetrievalMetadata | None,
    ) -> None:
        self._compute = compute
        self._on_demand = on_demand
        self._full_feature_names = full_feature_names
        self._metadata = metadata
        self._result: pa.Table | None = None

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002 - Feast's signature
        if self._result is None:
            self._result = self._compute()
        return self._result

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame


def _entity(schema: Schema, join_keys: Iterable[str]) -> Entity:
    entity = schema.keyed_by(join_keys)
    if entity is None:
        raise DataError(f"no Encore entity has the join keys {', '.join(sorted(join_keys))}")
    return entity


def _alike(entity_df: pd.DataFrame, views: list[FeatureView]) -> pd.DataFrame:
    """Return the frame with ids of mixed types in a column as text, since Arrow has no such columns."""
    keys = {view.projection.join_key_map.get(key, key) for view in views for key in view.join_keys}
    mixed = [
        column
        for column in keys.intersection(entity_df.columns)
        if entity_df[column].dtype == object
        and pd.api.types.infer_dtype(entity_df[column], skipna=True) not in {"string", "empty"}
    ]
    texts: dict[str, Any] = {column: id_texts(entity_df[column]) for column in mixed}
    return entity_df.assign(**texts)


def _spine(entity_df: pd.DataFrame, join_key_map: dict[str, str], entity: Entity) -> pd.DataFrame:
    columns = {key: join_key_map.get(key, key) for key in entity.join_keys}
    missing = [column for column in columns.values() if column not in entity_df.columns]
    if missing:
        raise DataError(f"entity_df: the column {', '.join(missing)} is missing; {entity.view} is keyed by it")
    return pd.DataFrame({key: id_texts(entity_df[column]) for key, column in columns.items()}, dtype=object)


def _values(engine: Engine, plan: Plan, entity: Entity, spine: pd.DataFrame, names: list[str]) -> pa.Table:
    """Return the named features at every row of the spine, null where an id is missing."""
    whole = spine[list(entity.join_keys)].notna().all(axis="columns").to_numpy()
    computed = [name for name in names if name != STATE_FEATURE]
    if not computed:
        return pa.table({STATE_FEATURE: pa.nulls(len(spine), pa.binary())})
    values = engine.values(plan, entity.name, spine[whole], computed)
    if not whole.all():
        places = np.where(whole, np.cumsum(whole) - 1, 0)
        values = values.take(pa.array(places, pa.int64(), mask=~whole))
    return values.append_column(STATE_FEATURE, pa.nulls(len(spine), pa.binary()))


def _micros(entity_df: pd.DataFrame, time_column: str) -> list[int]:
    times = entity_df[time_column]
    if not isinstance(times.dtype, pd.DatetimeTZDtype):
        raise DataError(f"entity_df: `{time_column}` has no time zone; use pd.to_datetime(..., utc=True)")
    if times.isna().any():
        raise DataError(f"entity_df: `{time_column}` is missing in row {int(times.isna().argmax())}")
    micros: list[int] = series_micros(times).tolist()
    return micros
