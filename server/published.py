"""The published models of a home, which follow those that machines share."""

from collections.abc import Callable

from model.registry.mirror import Mirror
from model.registry.published import Registry
from model.registry.version import ModelVersion
from server.settings import Settings
from server.storage import models_storage

__all__ = ["open_registry"]


def open_registry(settings: Settings, tracked: Callable[[str, str], ModelVersion | None] | None = None) -> Registry:
    """Return the published models; `tracked` is that of `Registry`. Opening them touches nothing."""
    shared = models_storage(settings)
    return Registry(settings.models, tracked, None if shared is None else Mirror(shared))
