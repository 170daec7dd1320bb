"""Settings that Feast's two Encore stores share: where log, plan and Redis are, from feature_store.yaml."""

from pathlib import Path

from data.log.event_log import EventLog
from features.plan.cache import load_plan
from features.plan.plan import EntityPlan, Plan

__all__ = ["entity_of", "home_of", "log_of", "plan_of"]


def home_of(home: str, repo_path: Path | None) -> Path:
    """Return the folder of Encore's state; a relative path is relative to the Feast repo."""
    return Path(home) if repo_path is None else (repo_path / home).resolve()


def log_of(home: Path) -> EventLog:
    """Return the event log of a home."""
    return EventLog(home / "log", plan_of(home).schema)


def plan_of(home: Path) -> Plan:
    """Return the compiled plan of a home."""
    return load_plan(home / "plan.json")


def entity_of(plan: Plan, view: str) -> EntityPlan:
    """Return the plan of the entity that has this Feast view."""
    return next(plan.of(entity.name) for entity in plan.schema.entities if entity.view == view)
