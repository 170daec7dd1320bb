"""The work of the `encore model` commands: opens the lifecycle of the home's models from its settings."""

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from data.errors import EncoreError
from model.registry.local_database import LocalDatabase, local_database
from model.registry.published import Registry
from model.registry.version import ModelNames
from model.targets import target_named
from server.published import open_registry
from server.settings import Settings, keep_libraries_quiet

if TYPE_CHECKING:
    from model.registry.lifecycle import Change, Lifecycle
    from model.registry.mlflow import Tracking
    from model.registry.version import ModelVersion

__all__ = [
    "compare_versions",
    "describe",
    "follow_registry",
    "list_versions",
    "mark_of",
    "open_lifecycle",
    "open_published",
    "open_tracking",
]

_log = logging.getLogger(__name__)

_PATIENCE_S = 1.0
"""Time, s, that a server waits for a locked database before it continues without it."""

_LOCAL_S, _REMOTE_S = 1.0, 10.0
"""Intervals of checks for changes, s: of a database file, and of a tracking server."""


def open_tracking(settings: Settings) -> "Tracking":
    """Return MLflow's registry, or its database in the home."""
    from model.registry.mlflow import Tracking  # noqa: PLC0415

    keep_libraries_quiet()
    return Tracking(settings.tracking_uri, names=ModelNames(settings.project))


def open_published(settings: Settings) -> Registry:
    """Return the published models, checked on loading against MLflow if its database is a local file."""
    database = local_database(settings.tracking_uri)
    return open_registry(
        settings,
        None if database is None else LocalDatabase(database, patience_s=_PATIENCE_S).version,
    )


def open_lifecycle(settings: Settings) -> "Lifecycle":
    """Return the lifecycle over MLflow and the published folder."""
    from model.registry.lifecycle import Lifecycle  # noqa: PLC0415 - it imports ONNX Runtime

    return Lifecycle(open_tracking(settings), open_registry(settings))


def list_versions(settings: Settings, target: str | None) -> "list[ModelVersion]":
    """Return the versions of one target or of all, oldest first. Raises `ConfigurationError` for an unknown target."""
    tracking = open_tracking(settings)
    targets = tracking.targets() if tracking.exists() else []
    if target is not None:
        targets = [target] if target in targets else [target_named(target, settings.declared).name]
    return [version for name in targets for version in tracking.versions(name)] if tracking.exists() else []


def describe(settings: Settings, target: str, name: str) -> "tuple[ModelVersion, dict[str, Any]]":
    """Return a version, and its metadata as plain values."""
    tracking, registry = open_tracking(settings), open_registry(settings)
    version = tracking.find(target, name)
    published = version.name in registry.versions(target)
    artifact = registry.load(target, version.name) if published else tracking.artifact(version)
    return version, msgspec.to_builtins(artifact.metadata)


def compare_versions(settings: Settings, target: str, *names: str) -> dict[str, dict[str, Any]]:
    """Return the training parameters and test metrics of versions, by version."""
    tracking = open_tracking(settings)
    versions = [tracking.find(target, name) for name in names]
    compared = ("estimator", "feature_plan", "examples", "threshold", "seed")
    return {
        version.name: {
            **{name: version.parameters[name] for name in compared if name in version.parameters},
            **{name: value for name, value in sorted(version.metrics.items()) if not name.startswith("validation.")},
        }
        for version in versions
    }


def follow_registry(settings: Settings, stop: threading.Event | None) -> "list[Change]":
    """Publish MLflow's changes, once (without `stop`) or until `stop` is set; return the changes.

    An unchanged database file is not opened, nor MLflow imported. Without `stop`, errors are raised, else logged.
    """
    database = local_database(settings.tracking_uri)
    changes: list[Change] = []
    published_mark: Any = None
    while True:
        mark = object() if database is None else mark_of(database)
        if mark is not None and mark != published_mark:
            published_mark = mark
            try:
                changes += _follow_once(settings)
            except EncoreError as error:
                if stop is None:
                    raise
                _log.warning("%s", error)
        if stop is None or stop.wait(_LOCAL_S if database else _REMOTE_S):
            return changes


def _follow_once(settings: Settings) -> "list[Change]":
    def refuse(target: str, error: EncoreError) -> None:
        _log.warning("model %s: MLflow's state cannot be published: %s", target, error)

    changes = open_lifecycle(settings).follow(refuse)
    for change in changes:
        _log.info("%s", change)
    return changes


def mark_of(database: Path) -> tuple[int, int] | None:
    """Return a value that changes when a database is written to; None if it does not exist."""
    try:
        status = database.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
