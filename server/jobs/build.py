"""The steps from nothing to a system that answers: history, features, model, states. Each can be run again."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import redis

from data.atomic import write_whole
from data.errors import ConfigurationError, DataError, EncoreError, UnavailableError
from data.log.event_log import EventLog
from data.log.sources import topic_ids
from events.stream.heartbeat import Heartbeats
from events.stream.pause import paused_workers
from features.plan.cache import compile_definitions, kept_plan, load_plan
from features.plan.plan import Plan
from features.state.redis import PROJECT, OnlineStates
from server.jobs.feast_repo import apply_views, is_applied, materialize_states, open_store
from server.jobs.modelling import open_lifecycle
from server.process.collector import settle_collector
from server.redis.connections import connect_redis, replication_of
from server.settings import Settings

if TYPE_CHECKING:
    from data.importers import ImportReport
    from data.shop.shop import ShopConfig
    from features.plan.change import EntityChange
    from model.artifact.metadata import Metadata
    from model.examples.training_set import TrainingSet
    from model.targets import Target
    from model.training.train import TrainOptions

__all__ = [
    "Progress",
    "apply_features",
    "build_examples",
    "generate_history",
    "has_history",
    "import_history",
    "is_materialized",
    "is_trained",
    "kept_shop",
    "materialize",
    "plan_changes",
    "rebuild",
    "train_model",
]

Progress = Callable[[str], None]

_MATERIALIZED = f"{PROJECT}:materialized"

_REPLICAS_MS = 30_000
"""Time limit for replicas to have all states: up to a million are written at once."""


def has_history(settings: Settings) -> bool:
    """Return whether the event log holds anything."""
    return bool(EventLog(settings.log).listing())


def generate_history(settings: Settings, config: "ShopConfig", progress: Progress) -> int:
    """Write the history of a synthetic shop into the log; return the number of its events."""
    from data.shop.shop import Shop  # noqa: PLC0415 - it imports Faker

    _refuse_second_history(settings)
    shop = Shop(config)
    rows = EventLog(settings.log).write_history(f"shop-{config.seed}", _counted(shop.history(), progress))
    write_whole(settings.shop, msgspec.json.encode(config))
    return rows


def import_history(settings: Settings, file_format: str, path: Path, progress: Progress) -> "ImportReport":
    """Write a public data set into the log as its history."""
    from data.importers import import_file  # noqa: PLC0415 - it imports DuckDB

    _refuse_second_history(settings)
    tables, report = import_file(file_format, path)
    EventLog(settings.log).write_history(file_format, _counted(tables, progress))
    return report


def kept_shop(settings: Settings) -> "ShopConfig | None":
    """Return the synthetic shop whose history the log holds; None where it holds none."""
    from data.shop.shop import ShopConfig  # noqa: PLC0415 - it imports Faker

    try:
        return msgspec.json.decode(settings.shop.read_bytes(), type=ShopConfig)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"{settings.shop}: not the shop that `encore generate` wrote ({error}); restore it from a copy, or delete "
            "it: live traffic is of a new shop then"
        ) from error


def apply_features(settings: Settings, progress: Progress) -> Plan:
    """Compile the definitions and register their views with Feast, where not done yet; return the plan."""
    progress("compiling the definitions")
    plan = load_plan(settings.plan)
    if not is_applied(settings, plan):
        progress("registering the views with Feast")
        apply_views(settings, plan)
    return plan


def plan_changes(settings: Settings) -> "list[EntityChange]":
    """Return how the present definitions differ from the plan in use; empty where there is none."""
    from features.plan.change import changes  # noqa: PLC0415

    kept = kept_plan(settings.plan)
    return [] if kept is None else changes(kept, compile_definitions())


def train_model(
    settings: Settings,
    progress: Progress,
    *,
    target: "Target",
    options: "TrainOptions",
    max_rows: int = 100_000,
    report: Path | None = None,
    promote: bool = False,
) -> "tuple[Metadata, str]":
    """Train a target on features from Feast and store the version; return its metadata, and what it is now in words.

    The first of a target is its champion, and a later one too with `promote`; else it challenges the champion. The
    evaluation goes to the run in MLflow, and to `report` (a .json file, the rest beside it) where that is given.
    """
    from model.evaluation.plots import draw_plots  # noqa: PLC0415 - as it says
    from model.evaluation.report import write_report  # noqa: PLC0415 - it draws
    from model.training.train import train  # noqa: PLC0415 - it imports scikit-learn

    examples, plan = build_examples(settings, progress, target, options, max_rows=max_rows)
    artifact = train(examples, target, feature_plan=plan.hash, options=options, progress=progress)
    progress("registering the model with MLflow")
    lifecycle = open_lifecycle(settings)
    with tempfile.TemporaryDirectory(prefix="encore-report-") as folder:
        plots = draw_plots(artifact.metadata)
        files = write_report(artifact.metadata, Path(folder) / "report.json", plots)
        if report is not None:
            write_report(artifact.metadata, report, plots)
        version = lifecycle.register(artifact, files)
    return artifact.metadata, lifecycle.introduce(version, promote=promote)


def build_examples(
    settings: Settings, progress: Progress, target: "Target", options: "TrainOptions", *, max_rows: int = 100_000
) -> "tuple[TrainingSet, Plan]":
    """Return the examples of a target in the log with their features from Feast, and the plan of those features."""
    from model.examples.spine import build_spine  # noqa: PLC0415 - training imports scikit-learn
    from model.examples.training_set import build_training_set  # noqa: PLC0415

    log, periods = EventLog(settings.log), options.periods
    progress("finding examples")
    spine = build_spine(
        log,
        target,
        start_us=periods.train_start_us,
        end_us=periods.test_end_us,
        max_rows=max_rows,
        seed=options.seed,
    )
    plan = apply_features(settings, progress)
    store = open_store(settings)
    service = store.get_feature_service(target.feature_service)

    def retrieve(entity_df: Any) -> Any:
        asked = entity_df.assign(request_time=entity_df["event_timestamp"])
        return store.get_historical_features(entity_df=asked, features=service).to_df().drop(columns="request_time")

    progress(f"computing {len(plan.names)} features of {len(spine):,} examples, each at its own time")
    examples = build_training_set(spine, retrieve, features=plan.names)
    return replace(examples, log_events=log.count()), plan


def is_trained(settings: Settings, plan: Plan) -> bool:
    """Return whether there is a champion, trained on the present features."""
    from model.registry.published import Registry  # noqa: PLC0415 - it imports ONNX Runtime
    from model.targets import REPEAT_PURCHASE  # noqa: PLC0415

    try:
        return Registry(settings.models).load(REPEAT_PURCHASE.name).metadata.feature_plan == plan.hash
    except EncoreError:
        return False


def materialize(settings: Settings, progress: Progress) -> dict[str, int]:
    """Fold the log into states in Redis through Feast; return the number of states of each entity.

    Replicas, where there are any, then have them too. Raises NotReplicatedError where they do not in time,
    FailedOverError where a primary was replaced meanwhile: run it again.
    """
    client = connect_redis(settings, timeout_s=60)
    states = OnlineStates(client)
    replication = replication_of(client, settings, least_ms=_REPLICAS_MS)
    replication.begin()  # fails before seconds of work where Redis is absent
    states.newest_event()
    plan = apply_features(settings, progress)
    progress("folding the event log into states")
    settle_collector()
    materialize_states(settings)
    counts = states.counts()
    states.inventory.vouch(counts)
    replication.confirm()
    client.set(_MATERIALIZED, _mark(settings, plan))
    return counts


def rebuild(settings: Settings, progress: Progress) -> dict[str, int]:
    """Delete every state and fold them anew from the event log; running workers pause, and go on from there.

    Meanwhile the API answers, about entities not folded yet as about new ones. Raises DataError, with every state as it
    was, where the log has a hole, cannot be read, or has nothing of a partition that is in the states.
    """
    from features.batch.engine import check_log  # noqa: PLC0415 - it imports DuckDB
    from features.batch.materializer import require_partitions  # noqa: PLC0415

    client = connect_redis(settings, timeout_s=60)
    states = OnlineStates(client)
    states.newest_event()  # fails at once where Redis is absent
    log = EventLog(settings.log)
    progress("checking the event log")
    check_log(log)
    progress("waiting for the stream workers to stand still")
    with paused_workers(Heartbeats(client, PROJECT)):
        require_partitions(states, log)
        progress("forgetting states")
        client.delete(_MATERIALIZED)
        states.clear()
        return materialize(settings, progress)


def is_materialized(settings: Settings, plan: Plan) -> bool:
    """Return whether Redis holds the states of this plan and of every history in the log.

    The mark dies with the states.
    """
    try:
        mark: Any = connect_redis(settings).get(_MATERIALIZED)
    except redis.RedisError as error:
        raise UnavailableError(f"Redis: {error}") from error
    return bool(mark) and mark.decode() == _mark(settings, plan)


def _mark(settings: Settings, plan: Plan) -> str:
    """Return the layouts and histories of the states; topics are the stream's part."""
    sources = EventLog(settings.log).sources()
    histories = [source for source in sources if not topic_ids([source])]
    return "/".join([*(str(entity.layout) for entity in plan.entities), *histories])


def _refuse_second_history(settings: Settings) -> None:
    if has_history(settings):
        raise ConfigurationError(
            f"{settings.log} holds a history already; run `encore clean` first, or set ENCORE_HOME to another folder"
        )


def _counted(tables: Iterable[pa.Table], progress: Progress) -> Iterator[pa.Table]:
    events = 0
    for table in tables:
        events += table.num_rows
        progress(f"{events:,} events")
        yield table
