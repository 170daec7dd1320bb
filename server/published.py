"""The home's registry of published models, which follows the shared one."""

from collections.abc import Callable

from model.registry.mirror import Mirror
from model.registry.published import Registry
from model.registry.version import ModelVersion
from server.settings import Settings
from server.storage import models_storage

__all__ = ["open_registry"]


def open_registry(settings: Settings, tracked: Callable[[str, str], ModelVersion | None] | None = None) -> Registry:
    """Return the published models; `tracked` is that of `Registry`. Opening reads and writes nothing."""
    shared = models_storage(settings)
    return Registry(settings.models, tracked, None if shared is None else Mirror(shared))
