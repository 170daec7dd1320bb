"""A cut of a home: all of its files as they are at one moment, in a folder of hard links, while everything runs.

Files are replaced, never changed, so that a link keeps what there was; those that grow or change in their place,
MLflow's database and the audit log, are copied. What compaction deletes meanwhile stays until the cut goes.
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
    """Yield a folder with all that a backup holds; it goes at the end. One at a time in a home.

    Raises LogHoleError where the log lacks offsets: a backup is of a whole log.
    """
    folder = settings.run / _SCRATCH
    shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
    try:
        # Whoever moves an alias of a model has this lock: database, artifacts and published files go together.
        with file_lock(settings.models / ".lock"):
            for name in sorted(names_in_home() - NOT_KEPT - {settings.log.name}):
                _link(settings.home / name, folder / name, settings)
        _link_log(settings, folder / settings.log.name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link_log(settings: Settings, folder: Path) -> None:
    """Link the log. Of files that come while it is listed some may be missed: it is listed again then."""
    for left in reversed(range(_TRIES)):
        shutil.rmtree(folder, ignore_errors=True)
        _link(settings.log, folder, settings)
        for made_again in (FOLDER, COPIES):
            shutil.rmtree(folder / made_again, ignore_errors=True)
        log = EventLog(folder, settings.declared.schema)
        if not (holes := log.holes()):
            return
        if not left:
            raise LogHoleError(settings.log, holes)


def _link(source: Path, target: Path, settings: Settings) -> None:
    """Link a file or what a folder holds; what is gone meanwhile is not in the cut."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            for path in sorted(source.iterdir()):
                if not path.name.startswith("."):  # locks, and files that are being written
                    _link(path, target / path.name, settings)
        return
    if source.suffix == ".db" and source.parent == settings.mlflow:
        _copy_database(source, target)
    elif source.is_file() and not source.name.startswith("mlflow.db-"):  # SQLite's own, of a write on its way
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
    found = source.stat()
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite database as it is between two writes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source.absolute()))}?mode=ro", 30, uri=True)) as database,
            closing(sqlite3.connect(target)) as copy,
        ):
            database.backup(copy)
    except sqlite3.Error as error:
        raise ConfigurationError(f"MLflow's database {source}: {error}; end what holds it, or restore it") from error
