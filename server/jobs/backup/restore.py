"""`encore restore`: makes a home from a backup. Everything is fetched and checked before it is put in place."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from data.errors import ConfigurationError, DataError
from data.filesystem.place import Place
from data.log.event_log import EventLog
from server.jobs.backup.manifest import Manifest, manifests, object_name, read_manifest, refuse_storage
from server.process.home import only_one
from server.settings import Settings
from server.shown_settings import public_settings

__all__ = ["Restored", "list_backups", "restore"]

_SCRATCH = "restore"
_SHOWN = 3


class Restored(NamedTuple):
    """A restored home: the number of events in its log, and what the operator still has to do."""

    name: str
    at: str
    project: str
    files: int
    bytes: int
    events: int
    to_do: list[str]


def list_backups(place: Place) -> dict[str, Manifest]:
    """Return the backups in a place by name, oldest first. Raises DataError if there is none."""
    names = manifests(place)
    if not names:
        begun = len(place.sizes("objects"))
        cut = f"; {begun:,} files are there, of a backup that was cut short: run `encore backup` again" if begun else ""
        raise DataError(f"{place} holds no backup{cut}")
    return {name: read_manifest(place, name) for name in names}


def restore(settings: Settings, place: Place, progress: Callable[[str], None], *, name: str | None = None) -> Restored:
    """Make the home from a backup, by default the newest.

    Raises, with the home unchanged, ConfigurationError if the home is not empty or there is no such backup; DataError
    if the backup is incomplete or damaged; UnavailableError if the place does not answer.
    """
    refuse_storage(settings)
    _refuse_occupied(settings)
    backups = list_backups(place)
    chosen = name or next(reversed(backups))
    if chosen not in backups:
        raise ConfigurationError(f"{place} has no backup {chosen!r}; there are: {', '.join([*backups][-_SHOWN:])}")
    manifest = backups[chosen]
    _refuse_incomplete(place, chosen, manifest)
    with only_one(settings, "restore", "restores a backup"):
        scratch = settings.run / _SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)  # left by a killed restore
        try:
            _fetch_all(place, manifest, scratch, progress)
            progress("checking what was fetched")
            events = _check(settings, scratch)
            _refuse_occupied(settings)
            _put_in_place(settings, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Restored(
        chosen, manifest.at, manifest.project, len(manifest.files), manifest.bytes, events, _to_do(settings, manifest)
    )


def _refuse_occupied(settings: Settings) -> None:
    home = settings.home
    names = sorted(path.name for path in home.iterdir()) if home.exists() else []
    occupied = [name for name in names if name not in {settings.run.name, settings.audit_log.name}]
    if occupied:
        raise ConfigurationError(
            f"{home} holds something already ({', '.join(occupied[:_SHOWN])}); run `encore clean` first, or set "
            "ENCORE_HOME to another folder"
        )


def _refuse_incomplete(place: Place, name: str, manifest: Manifest) -> None:
    stored_sizes = place.sizes("objects")
    missing = [path for path, file in manifest.files.items() if stored_sizes.get(object_name(file.sha256)) != file.size]
    if missing:
        raise DataError(
            f"{place}: the backup {name} lacks {len(missing):,} of its {len(manifest.files):,} files, or has them in "
            f"another size ({', '.join(missing[:_SHOWN])}); take another one (--list shows them)"
        )


def _fetch_all(place: Place, manifest: Manifest, folder: Path, progress: Callable[[str], None]) -> None:
    for number, (name, file) in enumerate(manifest.files.items(), 1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if place.fetch(object_name(file.sha256), path) != (file.sha256, file.size):
            raise DataError(f"{place}: {name} is damaged: its SHA-256 is not {file.sha256}; take another backup")
        progress(f"{number:,} of {len(manifest.files):,} files")


def _check(settings: Settings, folder: Path) -> int:
    """Check that the log and MLflow's database are readable; return the number of events."""
    log = EventLog(folder / settings.log.name, settings.declared.schema)
    log.check()
    database = folder / settings.mlflow.name / "mlflow.db"
    if database.exists():
        try:
            with closing(sqlite3.connect(database)) as connection:
                (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.Error as error:
            verdict = str(error)
        if verdict != "ok":
            raise DataError(f"the backup's MLflow database is damaged ({verdict}); take another backup")
    return log.count()


def _put_in_place(settings: Settings, scratch: Path) -> None:
    """Move the fetched files into the home, the log last: without its log a home counts as empty."""
    for path in sorted(scratch.iterdir(), key=lambda entry: entry.name == settings.log.name):
        if path.name == settings.audit_log.name and settings.audit_log.exists():
            continue  # the home's own audit log is kept, as by `encore clean`
        path.rename(settings.home / path.name)


def _to_do(settings: Settings, manifest: Manifest) -> list[str]:
    now = public_settings(settings)
    differing = {name: value for name, value in manifest.settings.items() if now.get(name) != value}
    lines = [f"set {name}={value}, as it was" for name, value in sorted(differing.items())]
    lines += [f"set {name}, which no backup keeps" for name in manifest.secrets if name not in _set_now(settings)]
    lines += [f"bring back {missing}" for missing in manifest.elsewhere]
    return [*lines, "run `encore up`, which makes states in Redis from the log, and starts everything"]


def _set_now(settings: Settings) -> set[str]:
    return {str(type(settings).model_fields[name].validation_alias) for name in settings.model_fields_set}
