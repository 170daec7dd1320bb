"""Checks of what a project has made: Feast's registry, models, and equal values on all paths."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from data.errors import EncoreError, ModelError, UnavailableError
from features.plan.cache import is_present, kept_plan
from features.plan.plan import Plan
from server.doctor.finding import Finding, fail, looked, ok, warn
from server.jobs.feast_repo import is_applied
from server.jobs.modelling import open_published
from server.redis.connections import connect_redis
from server.redis.editions import editions_of
from server.settings import Settings

__all__ = ["look_at_project"]


def look_at_project(settings: Settings, sample: int) -> Iterator[Finding]:
    """Yield whether registry and models match the live plan, and compare `sample` entities of each kind."""
    plan = _live_plan(settings)
    if plan is None:
        yield fail("features", "no definitions are compiled yet", "`encore features`, or `encore up`, which does all")
        return
    yield from looked("features", lambda: _features(settings, plan))
    yield from looked("models", lambda: _models(settings, plan))
    if sample:
        yield from looked("parity", lambda: _parity(settings, sample))


def _live_plan(settings: Settings) -> Plan | None:
    """Return the live plan; if Redis does not tell it, the one stored in the home."""
    client: Any = connect_redis(settings)
    with closing(client):
        try:
            editions = editions_of(client, settings)
            if (live := editions.live()) is not None:
                return editions.plan(live)
        except EncoreError:
            pass
    return kept_plan(settings.plan)


def _features(settings: Settings, plan: Plan) -> Iterator[Finding]:
    if not is_applied(settings, plan):
        yield fail("registry", f"Feast's registry does not hold plan {plan.hash}", "`encore features` registers it")
    else:
        yield ok("registry", f"Feast's registry holds plan {plan.hash}, with {len(plan.names)} features")
    present = kept_plan(settings.plan)
    if present is None or not is_present(settings.plan, settings.declared):
        advice = "`encore features --plan` says what that means, `encore rollout start` lets them answer"
        yield warn("features", "the definitions were edited since they were compiled", advice)
    elif present.hash != plan.hash:
        yield warn("features", f"plan {present.hash} waits, and {plan.hash} answers", "`encore rollout start`")
    else:
        yield ok("features", "the present definitions answer")


def _models(settings: Settings, plan: Plan) -> Iterator[Finding]:
    from model.targets import targets_of  # noqa: PLC0415 - it imports ONNX Runtime

    registry = open_published(settings)
    for number, target in enumerate(targets_of(settings.declared)):
        about = f"model {target}"
        try:
            metadata = registry.load(target).metadata
        except UnavailableError:
            lacking = "there is no champion"
            train = f"`encore train --target {target} --promote`"
            yield fail(about, lacking, train) if number == 0 else ok(about, f"{lacking}, and none is needed")
            continue
        except ModelError as error:
            yield fail(about, str(error), "`encore model promote` publishes it anew from MLflow")
            continue
        absent = sorted(set(metadata.features) - set(plan.names))
        if absent:
            named = ", ".join(absent[:5])
            yield fail(about, f"{metadata.version} needs {named}, gone since", f"`encore train --target {target}`")
        else:
            yield ok(about, f"{metadata.version}, of {len(metadata.features)} features")


def _parity(settings: Settings, sample: int) -> Iterator[Finding]:
    from server.jobs.verification import run_verification  # noqa: PLC0415 - it imports Featuretools and Feast

    verdict = run_verification(settings, sample=sample, as_of_us=None, seed=0)
    values = sum(verdict.compared.values())
    if verdict.disagreements:
        first_difference = " ".join(map(str, verdict.disagreements[0]))
        message = f"{len(verdict.disagreements):,} of {values:,} values differ: {first_difference}"
        yield fail("parity", message, "`encore verify` names them, `encore rebuild` makes the states anew")
    elif not values:
        yield warn("parity", "there was nothing to compare", "`encore up` makes a history and folds it")
    else:
        yield ok("parity", f"{values:,} values of {verdict.entities} entities agree on all paths")
