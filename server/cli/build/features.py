"""Definitions into a plan, and the log into states."""

from contextlib import suppress
from typing import Annotated

import typer

from data.errors import UnavailableError
from server.cli.terminal import Json, print_result, progress, settings_in_home, told_where_interrupted
from server.settings import read_settings

__all__ = ["features", "materialize"]


def features(
    only_plan: Annotated[
        bool,
        typer.Option("--plan", help="Only tell what a change of the definitions means for states, and their bytes."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compile the definitions and register their views with Feast."""
    from features.plan.cost import costs_in_words  # noqa: PLC0415
    from server.jobs.build import apply_features, plan_changes  # noqa: PLC0415
    from server.redis.ownership import claim_project  # noqa: PLC0415

    if only_plan:
        changes, costs = plan_changes(read_settings())
        print_result(
            {"changes": [change._asdict() for change in changes], "costs": [cost._asdict() for cost in costs]},
            as_json,
            "\n".join([*(map(str, changes) if changes else ["nothing is built yet"]), costs_in_words(costs)]),
        )
        return
    with progress("features", as_json) as tell:
        settings = settings_in_home("features")
        with suppress(UnavailableError):  # claiming the project can wait for Redis
            settings = claim_project(settings, tell)
        plan = apply_features(settings, tell)
    counts = {entity.entity: len(entity.features) for entity in plan.entities} | {"request": len(plan.request)}
    print_result(
        {"plan": plan.hash, "features": plan.names},
        as_json,
        f"plan {plan.hash}: " + ", ".join(f"{count} {entity} features" for entity, count in counts.items()),
    )


def materialize(as_json: Json = False) -> None:
    """Fold the event log into states in Redis, through Feast."""
    from server.jobs.build import materialize as fold_log  # noqa: PLC0415

    with told_where_interrupted(), progress("materializing", as_json) as tell:
        counts = fold_log(settings_in_home("materialize"), tell)
    print_result(counts, as_json, ", ".join(f"{count:,} {entity} states" for entity, count in counts.items()))
