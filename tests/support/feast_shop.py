"""A Feast feature store over a temporary home, the embedded store, and the generated objects."""

from pathlib import Path
from typing import Any

from redis import Redis

from features.feast_stores.loading import load_feast
from features.plan.cache import load_plan

__all__ = ["feast_store"]


def feast_store(home: Path, client: "Redis[bytes]", *, project: str = "encore", engine: str | None = None) -> Any:
    """A `FeatureStore` with everything applied; now is the newest event folded. `engine` None: Feast's own."""
    load_feast()
    from feast import FeatureStore, RepoConfig

    from features.feast_stores.views import feast_objects
    from model.feature_services import feature_services
    from model.targets import REPEAT_PURCHASE

    address = client.connection_pool.connection_kwargs
    shared = {"home": str(home)}
    config = RepoConfig(
        project=project,
        provider="local",
        registry=str(home / f"{project}.db"),
        entity_key_serialization_version=3,
        offline_store={"type": "features.feast_stores.offline.EncoreOfflineStore", **shared},
        online_store={
            "type": "features.feast_stores.online.EncoreOnlineStore",
            "host": address["host"],
            "port": address["port"],
            "clock": "events",
            **shared,
        },
        materialization={"pull_latest_features": True},
        **({"batch_engine": {"type": engine}} if engine else {}),
    )
    home.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(config=config)
    store.apply(
        feast_objects(load_plan(home / "plan.json"), str(home / "log"), feature_services([REPEAT_PURCHASE]), project)
    )
    return store
