"""`encore verify`: compares all ways of computing features, over the system of the settings."""

import contextlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from data.clock import wall_clock
from data.errors import ConfigurationError
from data.units import from_micros
from features.batch.engine import Engine
from features.batch.open import open_engine
from features.plan.cache import load_plan
from features.plan.plan import Plan
from features.state.online.states import OnlineStates
from features.state.values import Value
from features.verify.verification import FeastRead, Verdict, verify
from server.event_log import open_batch, open_log
from server.jobs.feast_repo import open_store
from server.redis.connections import connect_redis
from server.redis.editions import open_live
from server.redis.ownership import require_own
from server.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["run_verification"]


def run_verification(
    settings: Settings,
    *,
    sample: int,
    as_of_us: int | None,
    seed: int,
    spark: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Compare `sample` entities of each kind as of `as_of_us`, by default now by the clock of the settings.

    `spark` compares the same features on Spark too, under the master that the settings name. The oracle is left out if
    the live definitions are not the present ones. Raises ConfigurationError for a time before the newest folded event,
    or if Feast's registry in this home lacks a view.
    """
    client = connect_redis(settings, timeout_s=30)
    require_own(settings, client)
    live = open_live(client, settings)
    states, plan = live.states, live.plan
    _newest_event(states, as_of_us)  # fails early, since Feast's store takes seconds
    present = load_plan(settings.plan, settings.declared)
    tell("opening Feast's store")
    store = open_store(settings)  # takes seconds, so before the time is chosen
    newest = _newest_event(states, as_of_us)
    at_us = as_of_us if as_of_us is not None else newest if settings.clock == "events" else wall_clock()
    at_us = max(at_us, newest)  # an event may lie ahead of the clock
    feast = _feast_read(store, plan, at_us)
    other_engines: dict[str, Engine] = {}
    with contextlib.ExitStack() as stack:
        if spark:
            spark_engine = open_engine(open_log(settings), on="spark", master=settings.spark_master)
            other_engines["spark"] = stack.enter_context(spark_engine)
        return verify(
            plan,
            stack.enter_context(open_batch(settings)),
            states,
            feast,
            tell=tell,
            sample=sample,
            at_us=at_us,
            seed=seed,
            beside=other_engines,
            definitions=settings.declared.declared("features", "define") if plan.hash == present.hash else None,
        )


def _newest_event(states: OnlineStates, as_of_us: int | None) -> int:
    """Return the time of the newest folded event, µs. Raises ConfigurationError if `as_of_us` is earlier."""
    newest = states.newest_event() or 0
    if as_of_us is not None and as_of_us < newest:
        raise ConfigurationError(
            f"--as-of {from_micros(as_of_us).isoformat()}: states hold an event of {from_micros(newest).isoformat()}, "
            "and answer about no time before it; give a later one"
        )
    return newest


def _feast_read(store: "FeatureStore", plan: Plan, at_us: int) -> FeastRead:
    """Return a function that reads from Feast's online store, with its clock stopped at `at_us`."""
    from feast.errors import FeatureViewNotFoundException  # noqa: PLC0415 - importing Feast takes seconds

    from features.feast_stores.online import EncoreOnlineStore  # noqa: PLC0415

    online = store._get_provider().online_store  # noqa: SLF001 - Feast has no public way to its store
    assert isinstance(online, EncoreOnlineStore)  # noqa: S101 - our own configuration
    online.stop_clock(at_us)

    def read(entity: str, ids: list[tuple[str, ...]]) -> list[dict[str, Value]]:
        keys, view = plan.schema.entity(entity).join_keys, plan.schema.entity(entity).view
        try:
            registered = store.get_feature_view(view).features
        except FeatureViewNotFoundException:
            raise ConfigurationError(
                f"Feast: its registry in this home has no {view}, so that its answers cannot be compared; run "
                "`encore features`, which registers them"
            ) from None
        names = [field.name for field in registered if field.name != "state"]
        rows = [dict(zip(keys, entity_ids, strict=True)) for entity_ids in ids]
        columns = store.get_online_features([f"{view}:{name}" for name in names], rows).to_dict()
        return [{name: _plain(columns[name][place]) for name in names} for place in range(len(ids))]

    return read


def _plain(value: Value) -> Value:
    return None if isinstance(value, float) and math.isnan(value) else value
