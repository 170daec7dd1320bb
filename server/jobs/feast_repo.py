"""The Feast repo of one home: its feature_store.yaml, its registry, and the store that opens them."""

import contextlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from features.plan.plan import Plan
from model.targets import TARGETS
from server.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["apply_views", "is_applied", "materialize_states", "open_store", "write_config"]

_CONFIG = """\
# Written by `encore features` for this home. `feast -f {path} ...` works with it from anywhere.
project: encore
provider: local
registry: {settings.home}/feast/registry.db
entity_key_serialization_version: 3
offline_store:
  type: features.feast_stores.offline.EncoreOfflineStore
  home: {settings.home}
  memory: {settings.duckdb_memory}
  engine: {settings.batch}
  spark_master: "{settings.spark_master}"
online_store:
  type: features.feast_stores.online.EncoreOnlineStore
  home: {settings.home}
  host: {settings.redis_host}
  port: {settings.redis_port}
  cluster: {cluster}
  clock: {settings.clock}
{password}batch_engine:
  type: features.feast_stores.engine.EncoreComputeEngine
materialization:
  pull_latest_features: true
  online_write_batch_size: 10000
"""


def write_config(settings: Settings) -> Path:
    """Write the home's feature_store.yaml; return its path."""
    path = settings.feast / "feature_store.yaml"
    # Feast substitutes the variable when it reads the file, so the secret is not written to disk.
    password = "  password: ${REDIS_PASSWORD}\n" if settings.redis_password else ""
    cluster = str(settings.redis_cluster).lower()
    text = _CONFIG.format(path=path, settings=settings, cluster=cluster, password=password)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path


def open_store(settings: Settings) -> "FeatureStore":
    """Return Feast's store over this home. Feast is imported here, since that takes seconds."""
    from feast import FeatureStore  # noqa: PLC0415 - see above

    return FeatureStore(fs_yaml_file=write_config(settings))


def is_applied(settings: Settings, plan: Plan) -> bool:
    """Return whether Feast's registry holds the views of this plan."""
    return _stamp(settings).exists() and _stamp(settings).read_text() == _applied(plan)


def apply_views(settings: Settings, plan: Plan) -> list[str]:
    """Do what `feast apply` does with the views of this plan; return the names of the views."""
    from features.feast_stores.views import feast_objects  # noqa: PLC0415 - it imports Feast

    store = open_store(settings)
    store.apply(feast_objects(plan, str(settings.log), _services()))
    _stamp(settings).write_text(_applied(plan))
    return [view.name for view in store.list_all_feature_views()]


def materialize_states(settings: Settings) -> None:
    """Do what `feast materialize-incremental` does, until now, without its output."""
    store = open_store(settings)
    with contextlib.redirect_stdout(io.StringIO()):
        store.materialize_incremental(end_date=datetime.now(UTC))


def _services() -> tuple[str, ...]:
    return tuple(dict.fromkeys(target.feature_service for target in TARGETS.values()))


def _applied(plan: Plan) -> str:
    return " ".join([plan.hash, *_services()])


def _stamp(settings: Settings) -> Path:
    return settings.feast / "applied"
