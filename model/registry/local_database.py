"""MLflow's database as a local SQLite file: its URI, its versions, and the addresses of its artifacts.

Reading it takes milliseconds, importing MLflow seconds. It is written through MLflow, except after a move of the home.
"""

import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from data.errors import ConfigurationError
from model.registry.version import EXPERIMENT, SHA_TAG, SHARE_TAG, VERSION_TAG, ModelVersion

__all__ = ["LocalDatabase", "database_uri", "local_database"]

_SQLITE = "sqlite:///"

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns in which MLflow stores absolute addresses of files."""


def database_uri(path: Path) -> str:
    """Return the tracking URI of an SQLite file, with special characters escaped."""
    return _SQLITE + str(path).replace("%", "%25").replace("?", "%3F")


def local_database(uri: str) -> Path | None:
    """Return the SQLite file of a tracking URI; None for a server."""
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0])) if uri.startswith(_SQLITE) else None


class LocalDatabase:
    """An SQLite file of MLflow. `artifacts` is the folder of its artifacts, by default beside it.

    Every method raises `ConfigurationError`, in one line, if the file is missing, locked or damaged.
    """

    def __init__(self, path: Path, artifacts: Path | None = None, patience_s: float = 5.0) -> None:
        self.path = path
        self.artifacts = artifacts or path.parent / "artifacts"
        self._patience_s = patience_s

    def versions(self, target: str | None = None) -> list[ModelVersion]:
        """Return the versions that Encore registered, of one target or of all, ordered by target and number."""
        where, arguments = ("", ()) if target is None else ("AND v.name = ?", (target,))
        with self._reading() as database:
            rows = database.execute(
                "SELECT v.name, v.version, v.run_id, v.creation_time, name.value, sha.value FROM model_versions v "  # noqa: S608 - ours
                "JOIN model_version_tags name ON (name.name, name.version, name.key) = (v.name, v.version, ?) "
                "LEFT JOIN model_version_tags sha ON (sha.name, sha.version, sha.key) = (v.name, v.version, ?) "
                f"WHERE v.current_stage <> 'Deleted_Internal' {where} ORDER BY v.name, v.version",
                (VERSION_TAG, SHA_TAG, *arguments),
            ).fetchall()
            aliases = database.execute("SELECT name, version, alias FROM registered_model_aliases").fetchall()
            return [
                ModelVersion(
                    target=owner,
                    number=number,
                    name=name,
                    run_id=run,
                    created=datetime.fromtimestamp(created / 1000, UTC),
                    aliases=tuple(sorted(alias for *version, alias in aliases if version == [owner, number])),
                    metrics=_pairs(database, "latest_metrics", run),
                    parameters=_pairs(database, "params", run),
                    sha256=sha or "",
                )
                for owner, number, run, created, name, sha in rows
            ]

    def version(self, target: str, name: str) -> ModelVersion | None:
        """Return a version by Encore's name; None if there is none, or the file is unreadable at present."""
        try:
            return next((version for version in self.versions(target) if version.name == name), None)
        except ConfigurationError:
            return None

    def share(self, target: str) -> str | None:
        """Return the tag with the challenger's share of users; None if it is not set."""
        with self._reading() as database:
            query = "SELECT value FROM registered_model_tags WHERE name = ? AND key = ?"
            row = database.execute(query, (target, SHARE_TAG)).fetchone()
            return None if row is None else str(row[0])

    def prepare(self, *, create: bool) -> str:
        """Check that MLflow can write here, update the addresses of its files, and return the URI for MLflow.

        MLflow itself would retry for a minute to open a file that is absent, damaged or locked.
        """
        if not self.path.exists():
            if not create:
                raise self._absent()
            self.path.parent.mkdir(parents=True, exist_ok=True)
        else:
            with (
                self._converted(),
                closing(sqlite3.connect(self.path, self._patience_s, isolation_level=None)) as database,
            ):
                database.execute("BEGIN IMMEDIATE")
                self._update_addresses(database)
                database.execute("COMMIT")
        return database_uri(self.path if not {"%", "?"} & set(str(self.path)) else self._linked())

    def _update_addresses(self, database: sqlite3.Connection) -> None:
        """Update the addresses of files to the present folder, after the home was moved or restored."""
        present = self.artifacts.absolute().as_uri()
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {table for table, _ in _PLACES} <= tables or not self.artifacts.is_dir():
            return
        row = database.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
        before = row[0] if row else present
        if before == present or not before.startswith("file:"):
            return
        for table, column in _PLACES:
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608 - ours
                (present, len(before) + 1, len(before) + 1, f"{before}/"),
            )
            database.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (present, before))  # noqa: S608 - ours

    def _linked(self) -> Path:
        """Return a path of the file without special characters, since MLflow makes folders from the escaped URI."""
        folder = Path(tempfile.mkdtemp(prefix="encore-mlflow-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        (folder / "home").symlink_to(self.path.parent.absolute())
        return folder / "home" / self.path.name

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            raise self._absent()
        uri = f"file:{quote(str(self.path.absolute()))}?mode=ro"
        with self._converted(), closing(sqlite3.connect(uri, self._patience_s, uri=True)) as database:
            yield database

    @contextmanager
    def _converted(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"MLflow's database {self.path}: {error}; end what holds it, restore it, or set MLFLOW_TRACKING_URI"
            ) from error

    def _absent(self) -> ConfigurationError:
        return ConfigurationError(
            f"MLflow's database {self.path} is not there; run `encore train`, restore it, or set MLFLOW_TRACKING_URI"
        )


def _pairs(database: sqlite3.Connection, table: str, run: str) -> dict[str, Any]:
    return dict(database.execute(f"SELECT key, value FROM {table} WHERE run_uuid = ?", (run,)))  # noqa: S608 - ours
