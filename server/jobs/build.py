"""The steps that build a system: history, features, model, states. Each can be repeated."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa

from data.atomic import write_whole
from data.clock import wall_clock
from data.errors import ConfigurationError, DataError, EncoreError, ModelError
from data.log.sources import check_history
from data.project import DEFAULT
from features.plan.cache import compile_definitions, kept_plan, load_plan
from features.plan.groups import groups_of, names_without
from features.plan.plan import Plan
from features.state.editions.standing import Edition
from server.event_log import open_batch, open_log
from server.jobs.feast_repo import apply_views, is_applied, materialize_states, open_store
from server.jobs.modelling import follow_registry, open_lifecycle
from server.jobs.rollout.ground import Ground
from server.published import open_registry
from server.redis.connections import connect_redis
from server.redis.editions import claim_live, editions_of
from server.redis.mark import Mark, made_of
from server.settings import Settings

if TYPE_CHECKING:
    from data.importers import ImportReport
    from data.shop.shop import ShopConfig
    from features.plan.change import EntityChange
    from features.plan.cost import Cost
    from model.artifact.artifact import Artifact
    from model.artifact.metadata import Metadata
    from model.examples.training_set import TrainingSet
    from model.registry.version import ModelVersion
    from model.targets import Target
    from model.training.train import TrainOptions

__all__ = [
    "Progress",
    "TrainedVersion",
    "apply_features",
    "build_examples",
    "feature_reader",
    "generate_history",
    "has_history",
    "import_history",
    "is_trained",
    "kept_shop",
    "materialize",
    "plan_changes",
    "propose_mapping",
    "require_synthetic",
    "states_command",
    "train_model",
    "train_version",
]

Progress = Callable[[str], None]


class TrainedVersion(NamedTuple):
    """A registered version of a model, and the examples that it was trained and tested on."""

    examples: "TrainingSet"
    artifact: "Artifact"
    version: "ModelVersion"


def has_history(settings: Settings) -> bool:
    """Return whether the event log holds any events."""
    return bool(open_log(settings).listing())


def generate_history(settings: Settings, config: "ShopConfig", progress: Progress) -> int:
    """Write the history of a synthetic shop into the log; return the number of its events."""
    from data.shop.shop import Shop  # noqa: PLC0415 - it imports Faker

    require_synthetic(settings)
    _refuse_second_history(settings)
    shop = Shop(config)
    rows = open_log(settings).write_history(f"shop-{config.seed}", _counted(shop.history(), progress))
    write_whole(settings.shop, msgspec.json.encode(config))
    return rows


def require_synthetic(settings: Settings) -> None:
    """Raise ConfigurationError if the project's schema is not the synthetic shop's."""
    if settings.declared.schema != DEFAULT.schema:
        raise ConfigurationError(
            f"project {settings.declared.name}: the synthetic shop has other events than it declares; bring its own by "
            "`encore import FILE --map mapping.toml`, and live ones with `encore produce --mode file --input FILE`"
        )


def import_history(
    settings: Settings,
    files: Sequence[str],
    mapping_name: str,
    progress: Progress,
    *,
    source: str | None = None,
    append: bool = False,
    skip_faults: bool = False,
) -> "ImportReport":
    """Write files into the log as a mapping says: as its history, or, with `append`, as one more source.

    The source is named like the mapping, unless `source` is set. Appending a source again changes nothing.
    """
    from data.importers import import_files, load_mapping  # noqa: PLC0415 - it imports DuckDB

    mapping = load_mapping(mapping_name)
    name = source or mapping.name
    try:
        check_history(name)
    except ValueError as error:
        raise ConfigurationError(f"--source: {error}") from error
    if not append:
        _refuse_second_history(settings, "add to it with --append, ")
    log = open_log(settings)
    tables, report = import_files(
        mapping,
        files,
        now_us=wall_clock(),
        skip_faults=skip_faults,
        progress=progress,
        logged=(name, log.tables()) if append else None,
        schema=settings.declared.schema,
    )
    log.write_history(name, _counted(tables, progress))
    return report


def propose_mapping(settings: Settings, file: str) -> tuple[str, list[dict[str, Any]]]:
    """Return a proposed mapping for a file, and the guessed meaning of its columns, from a sample.

    In a project with its own schema, the mapping uses the names that `encore init` gives to the file's columns.
    """
    if settings.declared.schema == DEFAULT.schema:
        from data.drafts.proposal import propose  # noqa: PLC0415 - it imports DuckDB

        proposed = propose(file)
        return proposed.text, [asdict(column) for column in proposed.columns]
    from data.drafts.shop import draft_shop  # noqa: PLC0415 - it imports DuckDB

    draft = draft_shop(file, settings.declared.name)
    return draft.mapping, [asdict(column) for column in draft.columns]


def kept_shop(settings: Settings) -> "ShopConfig | None":
    """Return the synthetic shop whose history the log holds; None if there is none."""
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
    """Compile the definitions and register their views with Feast, unless that is done; return the plan."""
    progress("compiling the definitions")
    plan = load_plan(settings.plan, settings.declared)
    if not is_applied(settings, plan):
        progress("registering the views with Feast")
        apply_views(settings, plan)
    return plan


def plan_changes(settings: Settings) -> "tuple[list[EntityChange], list[Cost]]":
    """Return how the present definitions differ from the plan in use, if any, and the cost of their states."""
    from features.plan.change import changes  # noqa: PLC0415
    from features.plan.cost import costs  # noqa: PLC0415

    previous, plan = kept_plan(settings.plan), compile_definitions(settings.declared)
    return [] if previous is None else changes(previous, plan), costs(plan)


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
    """Train a version as `train_version` and give it a role; return its metadata, and its role in words.

    The first version of a target becomes its champion, a later one its challenger or, with `promote`, its champion.
    """
    trained = train_version(settings, progress, target=target, options=options, max_rows=max_rows, report=report)
    return trained.artifact.metadata, open_lifecycle(settings).introduce(trained.version, promote=promote)


def train_version(
    settings: Settings,
    progress: Progress,
    *,
    target: "Target",
    options: "TrainOptions",
    max_rows: int,
    report: Path | None = None,
) -> TrainedVersion:
    """Train a target on features from Feast and register the version, in no role yet.

    The evaluation goes to the run in MLflow and, if set, to `report` (a .json file, with other files beside it).
    """
    from model.evaluation.plots import draw_plots  # noqa: PLC0415 - it imports a plotting library
    from model.evaluation.report import write_report  # noqa: PLC0415 - as above
    from model.training.train import train  # noqa: PLC0415 - it imports scikit-learn

    examples, plan = build_examples(settings, progress, target, options, max_rows=max_rows)
    artifact = train(
        examples, target, feature_plan=plan.hash, options=options, groups=groups_of(plan), progress=progress
    )
    progress("registering the model with MLflow")
    with tempfile.TemporaryDirectory(prefix="encore-report-") as folder:
        plots = draw_plots(artifact.metadata)
        files = write_report(artifact.metadata, Path(folder) / "report.json", plots)
        if report is not None:
            write_report(artifact.metadata, report, plots)
        version = open_lifecycle(settings).register(artifact, files)
    return TrainedVersion(examples, artifact, version)


def build_examples(
    settings: Settings, progress: Progress, target: "Target", options: "TrainOptions", *, max_rows: int = 100_000
) -> "tuple[TrainingSet, Plan]":
    """Return the examples of a target in the log with their features from Feast, and the plan of those features."""
    from model.examples.mixture import served_later  # noqa: PLC0415
    from model.examples.spine import build_spine  # noqa: PLC0415 - training imports scikit-learn
    from model.examples.training_set import build_training_set  # noqa: PLC0415
    from server.scoring.kept_predictions import open_archive  # noqa: PLC0415

    periods = options.periods
    with open_batch(settings) as engine:
        progress("finding examples")
        spine = build_spine(
            engine,
            target,
            start_us=periods.train_start_us,
            end_us=periods.test_end_us,
            max_rows=max_rows,
            seed=options.seed,
        )
        plan = apply_features(settings, progress)
        features = names_without(plan, options.left_out)
        progress(f"computing {len(features)} features of {len(spine):,} examples, each at its own time")
        examples = build_training_set(spine, feature_reader(settings, target), features=features)
        served = open_archive(settings).read([*engine.log.schema.asked_keys, "as_of"], target=target.name)
        later = served_later(engine, target, served)
        return replace(examples, log_events=engine.log.count(), served_later=later), plan


def feature_reader(settings: Settings, target: "Target", *, age_us: int = 0) -> Callable[[Any], Any]:
    """Return a function that adds a target's features from Feast to questions, each as of its own time.

    Features of entities are as of `age_us` earlier; features of the request are not aged.
    """
    store = open_store(settings)
    service = store.get_feature_service(target.feature_service)
    age = timedelta(microseconds=age_us)

    def retrieve(entity_df: Any) -> Any:
        times = entity_df["event_timestamp"]
        aged = entity_df.assign(request_time=times, event_timestamp=times - age)
        features = store.get_historical_features(entity_df=aged, features=service).to_df()
        return features.assign(event_timestamp=features["event_timestamp"] + age).drop(columns="request_time")

    return retrieve


def is_trained(settings: Settings, plan: Plan) -> bool:
    """Return whether there is a champion that was trained on the present features."""
    from model.targets import first_target  # noqa: PLC0415

    target = first_target(settings.declared)
    registry = open_registry(settings)
    try:
        try:
            champion = registry.load(target)
        except ModelError:  # changed since it was published, or published by an earlier Encore: publish it again
            follow_registry(settings, None)
            champion = registry.load(target)
    except EncoreError:
        return False
    return champion.metadata.feature_plan == plan.hash


def materialize(settings: Settings, progress: Progress) -> dict[str, int]:
    """Fold the log into the live states, through Feast; return the number of states of each entity.

    Raises ConfigurationError, with no state changed, if they are another home's, or of another plan or history;
    NotReplicatedError if replicas do not have them in time, FailedOverError if a primary was replaced meanwhile: then
    run it again.
    """
    ground = Ground(settings, progress)
    settings = ground.settings
    plan = apply_features(settings, progress)
    live = claim_live(ground.client, settings)
    mark, needed = Mark(ground.client, live.states.project), made_of(settings, plan)
    stored = mark.read()
    if live.plan.hash != plan.hash or (stored and stored != needed):
        raise ConfigurationError(
            f"Redis holds states of another plan or history ({stored or live.plan.hash}; this home has {needed}), and "
            "folding the log into them would mix the two; run `encore rollout start`, which makes others beside"
        )
    with closing(ground):
        ground.require_memory(ground.entities(plan), beside=False)
        progress("folding the event log into states")
        materialize_states(settings)
    ground.replication.confirm()
    counts = live.states.counts()
    live.states.inventory.vouch(counts)
    mark.write(needed)
    return counts


def states_command(settings: Settings, plan: Plan) -> tuple[str, ...]:
    """Return the command that updates Redis to the states of this plan and the log's histories; empty if up to date."""
    client = connect_redis(settings)
    standing = editions_of(client, settings).read()
    live = standing.live if standing else Edition()
    mark = Mark(client, live.space(settings.project)).read()
    if standing is None or live.plan == plan.hash:
        if mark == made_of(settings, plan) and (standing is None or standing.stage in {"settled", "switched"}):
            return ()
        if not mark:
            return ("materialize",)
    return ("rollout", "start", "--finish")


def _refuse_second_history(settings: Settings, else_do: str = "") -> None:
    if has_history(settings):
        raise ConfigurationError(
            f"{open_log(settings)} holds a history already; {else_do}run `encore clean` first, or set ENCORE_HOME to "
            "another folder"
        )


def _counted(tables: Iterable[pa.Table], progress: Progress) -> Iterator[pa.Table]:
    events = 0
    for table in tables:
        events += table.num_rows
        progress(f"{events:,} events")
        yield table
