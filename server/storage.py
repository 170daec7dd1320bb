"""The places of files that machines may share: in the home, or where ENCORE_STORAGE says."""

from pathlib import Path

from data.storage.address import is_remote
from data.storage.folder import Folder
from data.storage.place import Place
from server.settings import Settings

__all__ = ["log_place"]


def log_place(settings: Settings) -> Place:
    """Return the place of the event log. Nothing is reached yet."""
    return _place(settings, "log")


def _place(settings: Settings, name: str) -> Place:
    if not is_remote(settings.storage):
        return Folder((Path(settings.storage) if settings.storage else settings.home) / name)
    from data.storage.open import open_place  # noqa: PLC0415 - it imports pyarrow

    return open_place(settings.storage, settings.copies) / name
