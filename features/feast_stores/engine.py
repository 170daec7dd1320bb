"""Feast's compute engine for materialization: from the log to Redis without a protobuf per feature and row.

Feast's own engine gives the same states through the offline and online stores' public methods, some 30 times slower.
"""

from typing import Any, Literal

from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel

from data.errors import EncoreError
from features.batch.engine import DuckDBEngine
from features.batch.materializer import materialize
from features.batch.spark.engine import SparkEngine
from features.batch.spark.states import OpenStates
from features.feast_stores.config import entity_of, log_of

__all__ = ["EncoreComputeEngine", "EncoreComputeEngineConfig"]


class EncoreComputeEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """No settings: the engine uses the configuration of the two stores."""

    type: Literal["features.feast_stores.engine.EncoreComputeEngine"] = (
        "features.feast_stores.engine.EncoreComputeEngine"
    )


class EncoreComputeEngine(LocalComputeEngine):  # type: ignore[misc]
    """Materializes a view by folding the whole log, whatever the dates (see the offline store)."""

    def _materialize_one(
        self,
        registry: BaseRegistry,  # noqa: ARG002 - Feast's signature
        task: MaterializationTask,
        **_: Any,
    ) -> LocalMaterializationJob:
        config = self.repo_config
        store, repo = config.offline_store, config.repo_path
        log, live = log_of(store, repo), self.online_store.live(config)
        plan = entity_of(live.plan, task.feature_view.name)
        job = f"{task.feature_view.name}-{task.end_time}"
        try:
            if store.engine == "spark":
                states = OpenStates(config.online_store.access, live.states.project, live.plan.schema)
                with SparkEngine(log, master=store.spark_master) as spark:
                    counts = spark.write_states(plan, states)
            else:
                with DuckDBEngine(log, memory=store.memory) as engine:
                    counts = materialize(live.states, engine.states(plan), plan, log)
        except EncoreError as error:
            return LocalMaterializationJob(job, MaterializationJobStatus.ERROR, error)
        print(f"{task.feature_view.name}: {counts.written:,} states written", end="")  # noqa: T201 - as Feast reports
        print(f", {counts.ahead:,} left to the stream, which is ahead of the log" if counts.ahead else "")  # noqa: T201
        return LocalMaterializationJob(job, MaterializationJobStatus.SUCCEEDED)
