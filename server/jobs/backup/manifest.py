"""What a backup holds: files by their SHA-256, and one manifest for each backup, which is written last.

    objects/9f/9f86d08…      a file, by its SHA-256: one that two backups share is there once
    backups/20261126T120000.000000Z.json

A backup that was cut short has no manifest, and so is none; those before it are as they were.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated

import msgspec

from data.errors import ConfigurationError, DataError
from data.filesystem.place import Place
from server.settings import Settings, names_in_home

__all__ = ["FORMAT", "NOT_KEPT", "Kept", "Manifest", "manifests", "object_name", "read_manifest", "refuse_storage"]

FORMAT = 1

NOT_KEPT = {"run", "broker", "store", "feast", "copies", "iceberg"}
"""What of a home is no part of a backup: processes, the embedded servers, and what `encore features` makes anew."""

_NAME = re.compile(r"backups/(\d{8}T\d{6}\.\d{6}Z)\.json")


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One file: its hash and size, and when it was last written (ns), by which it is known to be the same."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]
    written_ns: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup: when (RFC 3339, UTC), of which log (`identity`), project and plan, and its files by their paths.

    `settings` are those that were not as by default, `secrets` the variables that had a value, which is not kept.
    `elsewhere` says what the home does not hold.
    """

    format: int
    at: str
    version: str
    project: str
    identity: str
    plan: str
    files: dict[str, Kept]
    settings: dict[str, str]
    secrets: list[str]
    elsewhere: list[str]

    @property
    def bytes(self) -> int:
        """How large the files are together."""
        return sum(kept.size for kept in self.files.values())


def object_name(sha256: str) -> str:
    """Return the name of the file with this hash."""
    return f"objects/{sha256[:2]}/{sha256}"


def manifests(place: Place) -> list[str]:
    """Return the names of the backups in a place, the oldest first."""
    return sorted(match[1] for name in place.sizes("backups") if (match := _NAME.fullmatch(name)))


def read_manifest(place: Place, name: str) -> Manifest:
    """Return the manifest of a backup. Raises DataError where it is none that this version reads."""
    where = f"{place}: the backup {name}"
    try:
        found = msgspec.json.decode(place.read(f"backups/{name}.json"), type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{where} has no manifest that can be read ({error}); take another one") from error
    if found.format != FORMAT:
        raise DataError(
            f"{where} is of the format {found.format}, and this version reads {FORMAT}; take a newer Encore"
        )
    if strange := _strange(found.files):
        raise DataError(f"{where} holds {strange[0]!r}, which is no file of a home; nothing of it is used")
    return found


def _strange(paths: Iterable[str]) -> list[str]:
    """Paths that lead out of a home, or to what no backup holds."""
    ours = names_in_home() - NOT_KEPT

    def is_ours(path: str) -> bool:
        parts = PurePosixPath(path).parts
        plain = not {"..", "."} & set(path.split("/")) and "\\" not in path and "\0" not in path and "//" not in path
        return bool(parts) and plain and parts[0] in ours

    return [path for path in paths if not is_ours(path)]


def refuse_storage(settings: Settings) -> None:
    """Raise ConfigurationError where the log is not in the home, of which a backup is."""
    if settings.storage:
        raise ConfigurationError(
            f"the event log is in {settings.storage} (ENCORE_STORAGE), and a backup is of a log in the home: let the "
            "bucket keep versions, or copy it with its own tools"
        )
