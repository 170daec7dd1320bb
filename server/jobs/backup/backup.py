"""`encore backup`: sends a snapshot of the home to a place, new files only, and its manifest last."""

from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec

from data.clock import Clock, wall_clock
from data.errors import ConfigurationError, DataError
from data.filesystem.place import Place, digest_of
from data.log.identity import read_identity
from data.units import from_micros
from features.plan.cache import kept_plan
from model.registry.local_database import local_database
from server.jobs.backup.cut import cut_of
from server.jobs.backup.manifest import (
    FORMAT,
    Manifest,
    StoredFile,
    manifests,
    object_name,
    read_manifest,
    refuse_storage,
)
from server.process.home import only_one
from server.settings import Settings
from server.shown_settings import public_settings, secrets_that_are_set

__all__ = ["BackedUp", "back_up"]


class BackedUp(NamedTuple):
    """A finished backup: its name, its size, how much of it was sent, what it lacks, and the backups deleted."""

    name: str
    place: str
    files: int
    bytes: int
    sent_files: int
    sent_bytes: int
    elsewhere: list[str]
    dropped: list[str]


def back_up(
    settings: Settings,
    place: Place,
    progress: Callable[[str], None],
    *,
    keep: int | None = None,
    clock: Clock = wall_clock,
) -> BackedUp:
    """Back the home up while everything runs; `keep` this many backups, including the new one (None: all).

    Raises ConfigurationError if there is nothing to back up, or the place holds another home's backups; LogHoleError,
    UnavailableError; DataError if a file changed while it was sent.
    """
    refuse_storage(settings)
    identity = read_identity(settings.log)
    if identity is None and not settings.log.exists():
        raise ConfigurationError(f"{settings.home} holds no events yet: there is nothing to back up")
    identity_id = identity.id if identity else ""
    with only_one(settings, "backup", "makes a backup"):
        existing = manifests(place)
        last = read_manifest(place, existing[-1]) if existing else None
        if last is not None and last.identity and identity_id and last.identity != identity_id:
            raise ConfigurationError(
                f"{place} holds backups of another home (project {last.project}); name another folder"
            )
        at = from_micros(clock())
        name = _name(at)
        if name in existing:
            raise ConfigurationError(f"{place} has a backup {name} already; run this again")
        with cut_of(settings) as cut:
            files, sent = _send_all(cut, place, last.files if last else {}, progress)
            plan = kept_plan(cut / settings.plan.name)
        manifest = Manifest(
            format=FORMAT,
            at=at.isoformat(timespec="microseconds"),
            version=version("encore-features"),
            project=settings.project,
            identity=identity_id,
            plan=plan.hash if plan else "",
            files=files,
            settings=public_settings(settings),
            secrets=secrets_that_are_set(settings),
            elsewhere=_elsewhere(settings),
        )
        place.write(f"backups/{name}.json", msgspec.json.encode(manifest))
        dropped = [] if keep is None else _drop(place, [*existing, name][:-keep], progress)
    return BackedUp(name, str(place), len(files), manifest.bytes, len(sent), sum(sent), manifest.elsewhere, dropped)


def _send_all(
    cut: Path, place: Place, earlier: dict[str, StoredFile], progress: Callable[[str], None]
) -> tuple[dict[str, StoredFile], list[int]]:
    """Send the files that the place lacks; return all files by path, and the sizes of those sent."""
    stored_sizes = place.sizes("objects")
    files: dict[str, StoredFile] = {}
    sent: list[int] = []
    paths = sorted(path for path in cut.rglob("*") if path.is_file())
    for number, path in enumerate(paths, 1):
        name, status = path.relative_to(cut).as_posix(), path.stat()
        entry = earlier.get(name)
        if entry is None or (entry.size, entry.written_ns) != (status.st_size, status.st_mtime_ns):
            entry = StoredFile(*digest_of(path), status.st_mtime_ns)
        object_path = object_name(entry.sha256)
        if stored_sizes.get(object_path) != entry.size:
            written = place.send(path, object_path)
            if written != (entry.sha256, entry.size):
                place.delete(object_path)
                raise DataError(f"{name} changed while it was sent to {place}; run this again")
            stored_sizes[object_path] = entry.size
            sent.append(entry.size)
        files[name] = entry
        progress(f"{number:,} of {len(paths):,} files, {sum(sent) / 1e6:,.1f} MB sent")
    return files, sent


def _drop(place: Place, names: list[str], progress: Callable[[str], None]) -> list[str]:
    """Delete backups, then the files that no other backup uses."""
    for name in names:
        progress(f"dropping the backup {name}")
        place.delete(f"backups/{name}.json")
    if names:
        remaining = (read_manifest(place, name).files.values() for name in manifests(place))
        used = {object_name(entry.sha256) for files in remaining for entry in files}
        for unused in place.sizes("objects").keys() - used:
            place.delete(unused)
    return names


def _elsewhere(settings: Settings) -> list[str]:
    elsewhere = []
    if (database := local_database(settings.tracking_uri)) is None or not database.is_relative_to(settings.home):
        elsewhere.append("MLflow's runs and versions, which MLFLOW_TRACKING_URI keeps")
    if settings.declared.folder is not None:
        elsewhere.append(f"the project's folder {settings.declared.folder}, whose files belong in version control")
    return elsewhere


def _name(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%S.%f}Z"
