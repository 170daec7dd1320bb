"""The format of backups: files named by their SHA-256, and one manifest per backup, which is written last.

    objects/9f/9f86d08…      a file, by its SHA-256; a file shared by several backups is stored once
    backups/20261126T120000.000000Z.json

An interrupted backup has no manifest, so it does not count; earlier backups are unaffected.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated

import msgspec

from data.errors import ConfigurationError, DataError
from data.filesystem.place import Place
from server.settings import Settings, names_in_home

__all__ = [
    "FORMAT",
    "NOT_KEPT",
    "Manifest",
    "StoredFile",
    "manifests",
    "object_name",
    "read_manifest",
    "refuse_storage",
]

FORMAT = 1

NOT_KEPT = {"run", "broker", "store", "feast", "copies", "iceberg"}
"""Folders of a home that are not backed up: processes, embedded servers, and what `encore features` rebuilds."""

_NAME = re.compile(r"backups/(\d{8}T\d{6}\.\d{6}Z)\.json")


class StoredFile(msgspec.Struct, frozen=True, array_like=True):
    """One file: its hash, its size, and its modification time (ns), by which an unchanged file is recognized."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]
    written_ns: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup: its time (RFC 3339, UTC), log (`identity`), project and plan, and its files by path.

    `settings` are those that differ from the defaults; `secrets` are the secret variables that were set, without their
    values. `elsewhere` names what is stored outside of the home.
    """

    format: int
    at: str
    version: str
    project: str
    identity: str
    plan: str
    files: dict[str, StoredFile]
    settings: dict[str, str]
    secrets: list[str]
    elsewhere: list[str]

    @property
    def bytes(self) -> int:
        """Total size of the files, bytes."""
        return sum(entry.size for entry in self.files.values())


def object_name(sha256: str) -> str:
    """Return the path of the file with this hash."""
    return f"objects/{sha256[:2]}/{sha256}"


def manifests(place: Place) -> list[str]:
    """Return the names of the backups in a place, the oldest first."""
    return sorted(match[1] for name in place.sizes("backups") if (match := _NAME.fullmatch(name)))


def read_manifest(place: Place, name: str) -> Manifest:
    """Return the manifest of a backup. Raises DataError if this version cannot read it."""
    where = f"{place}: the backup {name}"
    try:
        manifest = msgspec.json.decode(place.read(f"backups/{name}.json"), type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{where} has no manifest that can be read ({error}); take another one") from error
    if manifest.format != FORMAT:
        raise DataError(
            f"{where} is of the format {manifest.format}, and this version reads {FORMAT}; take a newer Encore"
        )
    if foreign := _foreign(manifest.files):
        raise DataError(f"{where} holds {foreign[0]!r}, which is no file of a home; nothing of it is used")
    return manifest


def _foreign(paths: Iterable[str]) -> list[str]:
    """Return the paths that lead out of a home, or to folders that are not backed up."""
    backed_up = names_in_home() - NOT_KEPT

    def is_backed_up(path: str) -> bool:
        parts = PurePosixPath(path).parts
        plain = not {"..", "."} & set(path.split("/")) and "\\" not in path and "\0" not in path and "//" not in path
        return bool(parts) and plain and parts[0] in backed_up

    return [path for path in paths if not is_backed_up(path)]


def refuse_storage(settings: Settings) -> None:
    """Raise ConfigurationError if the log is outside of the home, since a backup covers the home only."""
    if settings.storage:
        raise ConfigurationError(
            f"the event log is in {settings.storage} (ENCORE_STORAGE), and a backup is of a log in the home: let the "
            "bucket keep versions, or copy it with its own tools"
        )
