"""`encore backup`: a cut of the home is sent to a place, of which only what is new is sent, and the manifest last."""

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
from server.jobs.backup.manifest import FORMAT, Kept, Manifest, manifests, object_name, read_manifest, refuse_storage
from server.process.home import only_one
from server.settings import Settings
from server.shown_settings import public_settings, secrets_that_are_set

__all__ = ["BackedUp", "back_up"]


class BackedUp(NamedTuple):
    """A backup: its name, what it holds, what of that was sent, what is kept elsewhere, and backups that went."""

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
    """Back the home up while everything runs; `keep` so many backups, this one among them (None: all).

    Raises ConfigurationError where there is nothing to back up, or the place holds another home's backups;
    LogHoleError, UnavailableError; DataError where a file changed while it was sent.
    """
    refuse_storage(settings)
    identity = read_identity(settings.log)
    if identity is None and not settings.log.exists():
        raise ConfigurationError(f"{settings.home} holds no events yet: there is nothing to back up")
    whose = identity.id if identity else ""
    with only_one(settings, "backup", "makes a backup"):
        before = manifests(place)
        last = read_manifest(place, before[-1]) if before else None
        if last is not None and last.identity and whose and last.identity != whose:
            raise ConfigurationError(
                f"{place} holds backups of another home (project {last.project}); name another folder"
            )
        at = from_micros(clock())
        name = _name(at)
        if name in before:
            raise ConfigurationError(f"{place} has a backup {name} already; run this again")
        with cut_of(settings) as cut:
            files, sent = _send_all(cut, place, last.files if last else {}, progress)
            plan = kept_plan(cut / settings.plan.name)
        manifest = Manifest(
            format=FORMAT,
            at=at.isoformat(timespec="microseconds"),
            version=version("encore-features"),
            project=settings.project,
            identity=whose,
            plan=plan.hash if plan else "",
            files=files,
            settings=public_settings(settings),
            secrets=secrets_that_are_set(settings),
            elsewhere=_elsewhere(settings),
        )
        place.write(f"backups/{name}.json", msgspec.json.encode(manifest))
        dropped = [] if keep is None else _drop(place, [*before, name][:-keep], progress)
    return BackedUp(name, str(place), len(files), manifest.bytes, len(sent), sum(sent), manifest.elsewhere, dropped)


def _send_all(
    cut: Path, place: Place, before: dict[str, Kept], progress: Callable[[str], None]
) -> tuple[dict[str, Kept], list[int]]:
    """Send what the place has not; return all files by their paths, and the sizes of those sent."""
    there = place.sizes("objects")
    files: dict[str, Kept] = {}
    sent: list[int] = []
    paths = sorted(path for path in cut.rglob("*") if path.is_file())
    for number, path in enumerate(paths, 1):
        name, found = path.relative_to(cut).as_posix(), path.stat()
        kept = before.get(name)
        if kept is None or (kept.size, kept.written_ns) != (found.st_size, found.st_mtime_ns):
            kept = Kept(*digest_of(path), found.st_mtime_ns)
        to = object_name(kept.sha256)
        if there.get(to) != kept.size:
            written = place.send(path, to)
            if written != (kept.sha256, kept.size):
                place.delete(to)
                raise DataError(f"{name} changed while it was sent to {place}; run this again")
            there[to] = kept.size
            sent.append(kept.size)
        files[name] = kept
        progress(f"{number:,} of {len(paths):,} files, {sum(sent) / 1e6:,.1f} MB sent")
    return files, sent


def _drop(place: Place, names: list[str], progress: Callable[[str], None]) -> list[str]:
    """Delete backups, and then the files that no other backup holds."""
    for name in names:
        progress(f"dropping the backup {name}")
        place.delete(f"backups/{name}.json")
    if names:
        left = (read_manifest(place, name).files.values() for name in manifests(place))
        used = {object_name(kept.sha256) for files in left for kept in files}
        for one in place.sizes("objects").keys() - used:
            place.delete(one)
    return names


def _elsewhere(settings: Settings) -> list[str]:
    found = []
    if (database := local_database(settings.tracking_uri)) is None or not database.is_relative_to(settings.home):
        found.append("MLflow's runs and versions, which MLFLOW_TRACKING_URI keeps")
    if settings.declared.folder is not None:
        found.append(f"the project's folder {settings.declared.folder}, whose files belong in version control")
    return found


def _name(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%S.%f}Z"
