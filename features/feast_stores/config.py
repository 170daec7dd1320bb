"""Where Feast's two Encore stores find the log, the plan and Redis: the settings they share in feature_store.yaml."""

from pathlib import Path

from data.log.event_log import EventLog
from features.plan.cache import load_plan
from features.plan.plan import Plan

__all__ = ["home_of", "log_of", "plan_of"]


def home_of(home: str, repo_path: Path | None) -> Path:
    """The folder of Encore's state; a relative one is relative to the Feast repo."""
    return Path(home) if repo_path is None else (repo_path / home).resolve()


def log_of(home: Path) -> EventLog:
    """The event log in it."""
    return EventLog(home / "log")


def plan_of(home: Path) -> Plan:
    """The compiled plan, kept in it."""
    return load_plan(home / "plan.json")
