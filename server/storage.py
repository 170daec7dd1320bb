"""Storage that machines may share: in the home, or at ENCORE_STORAGE."""

from pathlib import Path

from data.filesystem.address import is_remote
from data.filesystem.folder import Folder
from data.filesystem.storage import Storage
from server.settings import Settings

__all__ = ["log_storage", "models_storage", "predictions_storage"]


def log_storage(settings: Settings) -> Storage:
    """Return where the event log is. No connection is made yet."""
    return _storage(settings, "log")


def models_storage(settings: Settings) -> Storage | None:
    """Return the shared storage of published models; None if only the home has them."""
    return _storage(settings, "models") if settings.storage else None


def predictions_storage(settings: Settings) -> Storage:
    """Return where predictions are kept. No connection is made yet."""
    return _storage(settings, "predictions")


def _storage(settings: Settings, name: str) -> Storage:
    if not is_remote(settings.storage):
        return Folder((Path(settings.storage) if settings.storage else settings.home) / name)
    from data.filesystem.open import open_storage  # noqa: PLC0415 - it imports pyarrow

    return open_storage(settings.storage, settings.copies) / name
