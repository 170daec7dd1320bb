"""Feast's registry in a file that is checked before anything of it is read (see `registry_seal`)."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from feast.infra.registry.registry_store import RegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig

from data.clock import wall_clock
from data.units import from_micros
from features.feast_stores.registry_seal import Registered, read_sealed, write_sealed

__all__ = ["EncoreRegistryStore"]


class EncoreRegistryStore(RegistryStore):  # type: ignore[misc]
    """Named by `registry_store_type` in feature_store.yaml, so that Feast's own commands go through it too."""

    def __init__(self, registry_config: RegistryConfig, repo_path: Path | None) -> None:
        self._path = (repo_path or Path()) / registry_config.path

    def get_registry_proto(self) -> RegistryProto:
        """Return the registry. Raises FileNotFoundError where there is none, DataError where it was changed."""
        registry = RegistryProto()
        registry.ParseFromString(read_sealed(self._path))
        return registry

    def update_registry_proto(self, registry_proto: RegistryProto) -> None:
        """Write the registry and its seal."""
        registry_proto.version_id = str(uuid4())
        registry_proto.last_updated.FromDatetime(from_micros(wall_clock()))
        write_sealed(self._path, registry_proto.SerializeToString(), _registered(registry_proto))

    def teardown(self) -> None:
        """Delete the registry."""
        self._path.unlink(missing_ok=True)


def _registered(registry: RegistryProto) -> Registered:
    views = (*registry.feature_views, *registry.on_demand_feature_views, *registry.stream_feature_views)
    return Registered(_plans(views), _plans(registry.feature_services))


def _plans(objects: Any) -> dict[str, str]:
    return {item.spec.name: item.spec.tags.get("plan", "") for item in objects}
