"""Settings that Feast's two Encore stores share: where log, plan, project and Redis are, from feature_store.yaml."""

from pathlib import Path
from typing import Protocol

from data.filesystem.address import check_storage
from data.filesystem.open import open_storage
from data.log.event_log import EventLog
from data.project import DEFAULT, Project, open_project
from features.plan.cache import load_plan
from features.plan.plan import EntityPlan, Plan

__all__ = ["StoreConfig", "entity_of", "home_of", "log_of", "plan_of"]


class StoreConfig(Protocol):
    """Settings of a store: the folder of Encore's state, and that of the project (empty: the package's own shop).

    `storage` is where the event log is, as ENCORE_STORAGE says it (empty: in that folder).
    """

    home: str
    declared: str
    storage: str


def home_of(config: StoreConfig, repo_path: Path | None) -> Path:
    """Return the folder of Encore's state; a relative path is relative to the Feast repo."""
    return _folder(config.home, repo_path)


def log_of(config: StoreConfig, repo_path: Path | None) -> EventLog:
    """Return the event log of a home."""
    home = home_of(config, repo_path)
    place = open_storage(check_storage(config.storage) or str(home), home / "copies") / "log"
    return EventLog(place, _project_of(config, repo_path).schema)


def plan_of(config: StoreConfig, repo_path: Path | None) -> Plan:
    """Return the compiled plan of a home."""
    return load_plan(home_of(config, repo_path) / "plan.json", _project_of(config, repo_path))


def entity_of(plan: Plan, view: str) -> EntityPlan:
    """Return the plan of the entity that has this Feast view."""
    return next(plan.of(entity.name) for entity in plan.schema.entities if entity.view == view)


def _project_of(config: StoreConfig, repo_path: Path | None) -> Project:
    return open_project(_folder(config.declared, repo_path)) if config.declared else DEFAULT


def _folder(path: str, repo_path: Path | None) -> Path:
    return Path(path) if repo_path is None else (repo_path / path).resolve()
