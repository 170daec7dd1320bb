"""A cut of a home: a snapshot of all its files at one moment, as a folder of hard links, while everything runs.

Files are replaced, never changed, so a hard link keeps the old content. Files that change in place, MLflow's database
and the audit log, are copied. Files that compaction deletes meanwhile stay until the cut is deleted.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from data.errors import ConfigurationError, LogHoleError
from data.lock import file_lock
from data.log.event_log import COPIES, EventLog
from features.partials.partials import FOLDER
from server.jobs.backup.manifest import NOT_KEPT
from server.settings import Settings, names_in_home

__all__ = ["cut_of"]

_SCRATCH = "backup-cut"
_TRIES = 3


@contextmanager
def cut_of(settings: Settings) -> Iterator[Path]:
    """Yield a folder with the files of a backup, and delete it at the end. Only one may exist per home.

    Raises LogHoleError if the log lacks offsets, since a backup needs a complete log.
    """
    folder = settings.run / _SCRATCH
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed backup
    try:
        # Moving a model's alias takes this lock, so database, artifacts and published files are consistent.
        with file_lock(settings.models / ".lock"):
            for name in sorted(names_in_home() - NOT_KEPT - {settings.log.name}):
                _link(settings.home / name, folder / name, settings)
        _link_log(settings, folder / settings.log.name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link_log(settings: Settings, folder: Path) -> None:
    """Link the log. Files that arrive during the listing may be missed; then it is listed again."""
    for tries_left in reversed(range(_TRIES)):
        shutil.rmtree(folder, ignore_errors=True)
        _link(settings.log, folder, settings)
        for derived in (FOLDER, COPIES):
            shutil.rmtree(folder / derived, ignore_errors=True)
        log = EventLog(folder, settings.declared.schema)
        if not (holes := log.holes()):
            return
        if not tries_left:
            raise LogHoleError(settings.log, holes)


def _link(source: Path, target: Path, settings: Settings) -> None:
    """Link a file, or a folder's contents; a file deleted meanwhile is left out."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            for path in sorted(source.iterdir()):
                if not path.name.startswith("."):  # locks, and files that are being written
                    _link(path, target / path.name, settings)
        return
    if source.suffix == ".db" and source.parent == settings.mlflow:
        _copy_database(source, target)
    elif source.is_file() and not source.name.startswith("mlflow.db-"):  # SQLite's journal of a pending write
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            _copy(source, target, grows=source.is_relative_to(settings.audit_log))


def _copy(source: Path, target: Path, *, grows: bool) -> None:
    if not grows:
        try:
            target.hardlink_to(source)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
                raise
        else:
            return
    shutil.copyfile(source, target)
    status = source.stat()
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite database in a consistent state."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source.absolute()))}?mode=ro", 30, uri=True)) as database,
            closing(sqlite3.connect(target)) as copy,
        ):
            database.backup(copy)
    except sqlite3.Error as error:
        raise ConfigurationError(f"MLflow's database {source}: {error}; end what holds it, or restore it") from error
