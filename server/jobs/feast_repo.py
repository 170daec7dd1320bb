"""The Feast repo of a home: its feature_store.yaml, its registry, and the Feast store over them."""

import contextlib
import io
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from data.project import PROJECT
from features.entities import REQUEST_VIEW
from features.feast_stores.loading import load_feast
from features.feast_stores.registry_seal import registered
from features.plan.cache import load_plan
from features.plan.plan import Plan
from model.feature_services import feature_services
from model.targets import targets_of
from server.settings import Settings
from server.storage import log_storage

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["apply_views", "is_applied", "materialize_states", "open_store", "write_config"]

_HEAD = """\
# Written by `encore features` for this home. `feast -f THIS_FILE ...` works with it from anywhere.
"""

_PLACE = "_place_"
"""Placeholder of the password while the YAML is generated."""


class _Dumper(yaml.SafeDumper):
    """Escapes `$` in texts, because Feast substitutes environment variables before it parses the YAML."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "$" in text else None),
)


def write_config(settings: Settings) -> Path:
    """Write the home's feature_store.yaml; return its path."""
    path = settings.feast / "feature_store.yaml"
    text = _HEAD + _as_yaml(_config(settings))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path


def _config(settings: Settings) -> dict[str, Any]:
    home, declared = str(settings.home), str(settings.declared.folder or "")
    storage = {"storage": settings.storage} if settings.storage else {}
    return {
        "project": settings.project,
        "provider": "local",
        "registry": {
            "registry_store_type": "features.feast_stores.registry.EncoreRegistryStore",
            "path": str(_registry(settings)),
        },
        "entity_key_serialization_version": 3,
        "offline_store": {
            "type": "features.feast_stores.offline.EncoreOfflineStore",
            "home": home,
            "declared": declared,
            **storage,
            "memory": settings.duckdb_memory,
            "engine": settings.batch,
            "spark_master": settings.spark_master,
        },
        "online_store": {
            "type": "features.feast_stores.online.EncoreOnlineStore",
            "home": home,
            "declared": declared,
            **storage,
            "clock": settings.clock,
            **{name: value for name, value in asdict(settings.redis_access).items() if value is not None},
            **({"password": _PLACE} if settings.redis_password else {}),
        },
        "batch_engine": {"type": "features.feast_stores.engine.EncoreComputeEngine"},
        "materialization": {"pull_latest_features": True, "online_write_batch_size": 10000},
    }


def _as_yaml(config: dict[str, Any]) -> str:
    """Return the configuration as YAML that Feast reads unchanged, whatever characters its texts contain.

    Feast substitutes the password when it reads the file, so that the secret is not stored. It does so before it parses
    the YAML, so the placeholder is in a literal block, which takes any line as it is.
    """
    text: str = yaml.dump(config, Dumper=_Dumper, sort_keys=False, width=_NO_FOLDS).replace("$", r"\x24")
    return text.replace(f"password: {_PLACE}\n", "password: |2-\n    ${REDIS_PASSWORD}\n")


_NO_FOLDS = 1_000_000


def open_store(settings: Settings) -> "FeatureStore":
    """Return Feast's store over this home. Feast is imported here because that takes seconds."""
    load_feast()
    from feast import FeatureStore  # noqa: PLC0415 - see above

    return FeatureStore(fs_yaml_file=write_config(settings))


def is_applied(settings: Settings, plan: Plan) -> bool:
    """Return whether Feast's registry holds the views and services of this plan, unchanged since Feast wrote them."""
    registry = registered(_registry(settings))
    if registry is None or (REQUEST_VIEW in registry.views) != bool(plan.request_view):
        return False
    views = all(registry.views.get(entity.view) == plan.hash for entity in plan.schema.entities)
    return views and all(registry.services.get(service) == plan.hash for service in _services(settings))


def apply_views(settings: Settings, plan: Plan) -> list[str]:
    """Apply the views of this plan as `feast apply` does; return the names of the views.

    A registry that was changed since Feast wrote it is deleted first; its contents follow from the plan.
    """
    load_feast()
    from features.feast_stores.views import feast_objects  # noqa: PLC0415 - it imports Feast

    if registered(_registry(settings)) is None:
        _registry(settings).unlink(missing_ok=True)
    store = open_store(settings)
    declared = settings.declared
    services = feature_services(targets_of(declared).values())
    about = "" if declared.folder is None else f"The features of {declared.name}, of the project in {declared.folder}."
    store.apply(feast_objects(plan, str(log_storage(settings)), services, settings.project, about))
    return [view.name for view in store.list_all_feature_views()]


def materialize_states(settings: Settings) -> None:
    """Materialize the views of all entities until now as `feast materialize-incremental` does, without its output."""
    store = open_store(settings)
    views = [entity.view for entity in load_plan(settings.plan, settings.declared).schema.entities]
    with contextlib.redirect_stdout(io.StringIO()):
        store.materialize_incremental(end_date=datetime.now(UTC), feature_views=views)


def _services(settings: Settings) -> tuple[str, ...]:
    return tuple(dict.fromkeys(target.feature_service for target in targets_of(settings.declared).values()))


def _registry(settings: Settings) -> Path:
    return settings.feast / ("registry.db" if settings.project == PROJECT else f"{settings.project}.db")
