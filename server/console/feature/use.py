"""Uses of a feature: models with their targets, its importance in each, and its Feast view."""

from collections.abc import Mapping, Sequence
from typing import Any

from features.entities import REQUEST_VIEW
from features.plan.plan import Feature, Plan

__all__ = ["found_in", "use_rows", "view_of"]


def found_in(plan: Plan, name: str) -> tuple[str, Feature] | None:
    """Return a feature's entity (`request` for features of the question) and the feature; None if there is none."""
    for entity in plan.entities:
        for feature in entity.features:
            if feature.name == name:
                return entity.entity, feature
    return next((("request", feature) for feature in plan.request if feature.name == name), None)


def view_of(plan: Plan, entity: str) -> str:
    """Return the Feast view of an entity's features."""
    return next((declared.view for declared in plan.schema.entities if declared.name == entity), REQUEST_VIEW)


def use_rows(name: str, reports: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return a row per model that takes the feature, with its place among the model's importances.

    `reports` are versions' reports, each with the version's role.
    """
    rows = []
    for role, report in reports:
        if name not in report["features"]:
            continue
        importances = report["importances"]
        ranked = sorted(importances, key=lambda feature: -importances[feature])
        rows.append(
            {
                "target": report["target"].replace("_", " "),
                "model": f"{report['estimator']} {report['version']}",
                "is": role,
                "importance": round(importances[name], 4) if name in importances else None,
                "place": f"{ranked.index(name) + 1} of {len(ranked)}" if name in importances else "",
            }
        )
    return rows
