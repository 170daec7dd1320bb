"""Reports on models in use: live metrics and drift of stored predictions, staleness, and trials of interventions."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data.atomic import write_whole
from data.clock import wall_clock
from data.errors import ConfigurationError, EncoreError, UnavailableError
from data.units import from_micros, to_micros
from events.predictions.archive import PredictionArchive
from model.artifact.metadata import Metadata
from model.artifact.predictor import Predictor
from model.estimators.catalogue import BASELINE, fit_estimator
from model.evaluation.drift import MIN_ROWS, compared, drifted
from model.evaluation.live import LIVE_COLUMNS, LiveModel, judge_live
from model.evaluation.staleness import Staleness, age_words, judge_ages
from model.evaluation.uplift import Trial, measure_uplift
from model.examples.outcomes import outcomes
from model.examples.spine import build_spine
from model.examples.training_set import TrainingSet, build_training_set
from model.examples.trial import read_trial
from model.registry.published import CHAMPION, Registry
from model.rows import float32_rows
from model.targets import CART_ABANDONMENT, Target, first_target, target_named
from model.uplift import UpliftReport
from server.event_log import open_batch
from server.jobs.build import Progress, apply_features, feature_reader
from server.process.home import only_one
from server.published import open_registry
from server.scoring.kept_predictions import open_archive, read_predictions
from server.settings import Settings

__all__ = [
    "DriftReport",
    "LiveReport",
    "cart_target",
    "evaluate_live",
    "keep_predictions",
    "measure_staleness",
    "measure_trial",
    "write_report",
]

_RECENT = 5_000
"""Number of newest predictions from which drift is computed."""


class LiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """Live metrics of a target's predictions, by model."""

    target: str
    at: datetime
    models: list[LiveModel]


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """PSI of each feature of the newest predictions against the champion's training data, highest first.

    `note` says why there is none; `drifted` are features that moved much, and more than by their usual variation.
    """

    target: str
    at: datetime
    model: str
    rows: int
    psi: dict[str, float]
    drifted: list[str]
    note: str = ""


def evaluate_live(
    settings: Settings, progress: Progress, target: str | None = None
) -> tuple[list[LiveReport], list[DriftReport]]:
    """Evaluate predictions against outcomes, and compute drift, for one target or all that have a model.

    Both reports are written to the home, where the API reads them.
    """
    archive = open_archive(settings)
    registry = open_registry(settings)
    try:
        progress(f"{keep_predictions(settings, archive):,} new predictions kept")
    except UnavailableError as error:
        progress(f"only what is kept already is judged: {error}")
    targets = [target_named(target, settings.declared).name] if target else registry.targets()
    live, drift = [], []
    for name in targets:
        progress(f"{name}: joining predictions with what happened then")
        predictions = archive.read([*settings.declared.schema.asked_keys, *LIVE_COLUMNS], target=name)
        outcomes_by_model = _outcomes(settings, registry, name, predictions)
        live.append(LiveReport(target=name, at=_now(), models=judge_live(predictions, outcomes_by_model)))
        drift.append(_drift(registry, archive, name))
    write_report(settings, "live", live)
    write_report(settings, "drift", drift)
    return live, drift


def keep_predictions(settings: Settings, archive: PredictionArchive) -> int:
    """Move new predictions from the topic into the archive; return their number, 0 if another process does so.

    Raises `UnavailableError` without Kafka.
    """
    try:
        with (
            only_one(settings, "predictions", "keeps predictions"),
            read_predictions(settings, archive) as reader,
        ):
            return reader.take_all()
    except ConfigurationError:
        return 0


def write_report(settings: Settings, name: str, report: Any) -> None:
    """Write a report where the API reads it, atomically."""
    write_whole(settings.quality / f"{name}.json", msgspec.json.format(msgspec.json.encode(report), indent=2))


def measure_trial(settings: Settings, files: list[str], mapping: str, progress: Progress) -> UpliftReport:
    """Measure an A/B log, and write the report from which the API makes its table of interventions.

    Raises ConfigurationError, DataError or FaultyRowsError, in one line, if the log is unreadable or has too little
    data; ModelError without a model of carts.
    """
    target = cart_target(settings)
    rows = read_trial(files, mapping, now_us=wall_clock(), progress=progress, schema=settings.declared.schema)
    predictor = Predictor(open_registry(settings).load(target.name))
    examples = _with_features(settings, target, rows, predictor, progress)
    progress("measuring both arms")
    trial = Trial(
        rows["treated"].to_numpy(np.int64),
        examples.labels,
        predictor.score(examples.rows),
        examples.users if examples.users is not None else np.arange(len(rows)),
        examples.rows,
    )
    # The forest, since its probabilities are the shares of its leaves.
    measured = measure_uplift(
        trial,
        settings.intervention_rules,
        lambda inputs, bought: fit_estimator(BASELINE, 0, {}, inputs, bought),
        intervention=rows["intervention"].iloc[0],
    )
    first, last = rows["event_timestamp"].iloc[0].to_pydatetime(), rows["event_timestamp"].iloc[-1].to_pydatetime()
    learned = predictor.metadata.parts["train"].last
    note = (
        f"the model has learned from carts until {learned:%Y-%m-%d}, some of the trial's among them: its risk levels "
        "may know their outcomes; train one with --train-end before the trial"
        if learned >= first
        else ""
    )
    report = UpliftReport(
        target=target.name,
        at=from_micros(wall_clock()),
        model=predictor.version,
        first=first,
        last=last,
        note=note,
        measured=measured,
    )
    write_report(settings, "uplift", report)
    return report


def measure_staleness(
    settings: Settings,
    progress: Progress,
    ages_us: Sequence[int],
    *,
    target: str | None = None,
    version: str = CHAMPION,
    max_rows: int = 20_000,
    seed: int = 0,
) -> Staleness:
    """Measure a model's metrics on the questions of its test part as its features age.

    A question and the request's features are as of the question's time; features of entities are as of the age before,
    as in a store that is filled at intervals. Only questions asked at their trigger count, by which models are judged;
    more than `max_rows` (including questions asked later) are sampled. Raises ModelError without a model, TrainingError
    without questions.
    """
    question = target_named(target or first_target(settings.declared), settings.declared)
    predictor = Predictor(open_registry(settings).load(question.name, version))
    learned, test = predictor.metadata.asked or question, predictor.metadata.parts["test"]
    progress("finding the questions of its test")
    with open_batch(settings) as engine:
        spine = build_spine(
            engine,
            learned,
            start_us=to_micros(test.first),
            end_us=to_micros(test.last) + 1,
            max_rows=max_rows,
            seed=seed,
        )
    spine = spine[~spine["later"]]
    apply_features(settings, progress)
    scores, examples = {}, None
    for age_us in sorted(set(ages_us)):
        progress(f"computing {len(predictor.features)} features of {len(spine):,} questions, {age_words(age_us)} old")
        reader = feature_reader(settings, learned, age_us=age_us)
        examples = build_training_set(spine, reader, features=predictor.features)
        scores[age_us] = predictor.score(examples.rows)
    if examples is None:
        raise ConfigurationError("--staleness: give at least one age, such as 0s")
    users = examples.users if examples.users is not None else np.arange(len(spine))
    progress("measuring")
    ages = judge_ages(examples.labels, scores, users, threshold=predictor.threshold, seed=seed)
    return Staleness(target=question.name, model=predictor.version, questions=len(spine), ages=ages)


def cart_target(settings: Settings) -> Target:
    """Return the target that interventions are about. Raises ConfigurationError if the project does not have it."""
    try:
        return target_named(CART_ABANDONMENT.name, settings.declared)
    except ConfigurationError as error:
        raise ConfigurationError(f"interventions are about abandoned carts: {error}") from error


def _outcomes(
    settings: Settings, registry: Registry, name: str, predictions: pa.Table
) -> dict[str, NDArray[np.float64]]:
    """Return the outcomes for each model's question, by version: 0 or 1, NaN if unknown or without its metadata."""
    unknown = np.full(predictions.num_rows, np.nan)
    answers: dict[Target | None, NDArray[np.float64]] = {None: unknown}
    versions = {*predictions["model"].to_pylist(), *predictions["shadow_model"].to_pylist()} - {None}
    if not versions:
        return {}
    by_version = {}
    with open_batch(settings) as engine:
        for version in versions:
            question = _question(registry, name, version)
            if question is not None and question not in answers:
                answers[question] = outcomes(engine, question, predictions)
            by_version[version] = answers[question]
    return by_version


def _question(registry: Registry, name: str, version: str) -> Target | None:
    try:
        return registry.metadata(name, version).asked
    except EncoreError:
        return None


def _drift(registry: Registry, archive: PredictionArchive, target: str) -> DriftReport:
    def none(model: str, rows: int, why: str) -> DriftReport:
        return DriftReport(target=target, at=_now(), model=model, rows=rows, psi={}, drifted=[], note=why)

    try:
        metadata = registry.metadata(target)
    except EncoreError as error:
        return none("", 0, str(error))
    times = archive.read(["as_of"], target=target)["as_of"]
    if len(times) < MIN_ROWS:
        return none(metadata.version, len(times), f"{len(times)} predictions are kept; {MIN_ROWS} are needed")
    since = np.sort(times.to_numpy())[-min(_RECENT, len(times))].astype("datetime64[us]").astype(datetime)
    predictions = archive.read(["as_of", "features"], target=target, since=since.replace(tzinfo=UTC))
    moments = predictions["as_of"].to_numpy().astype("datetime64[us]").astype(np.int64)
    matrix, span_us = _matrix(predictions, metadata), int(moments.max() - moments.min())
    psi = compared(metadata.reference, metadata.features, matrix, span_us)
    if not psi:
        return none(metadata.version, predictions.num_rows, "the champion was trained before references were kept")
    return DriftReport(
        target=target,
        at=_now(),
        model=metadata.version,
        rows=predictions.num_rows,
        psi=psi,
        drifted=drifted(metadata.reference, psi),
    )


def _matrix(predictions: pa.Table, metadata: Metadata) -> NDArray[np.float32]:
    """Return the features of predictions as the model's inputs: float32 [n, features], NaN for null."""
    rows = [json.loads(text) for text in predictions["features"].to_pylist()]
    return float32_rows([[row.get(name) for name in metadata.features] for row in rows])


def _now() -> datetime:
    return from_micros(wall_clock())


def _with_features(
    settings: Settings, target: Target, rows: pd.DataFrame, predictor: Predictor, progress: Progress
) -> TrainingSet:
    """Return the rows with the model's features, each as of its own time, in the same order."""
    apply_features(settings, progress)
    progress(f"computing {len(predictor.features)} features of {len(rows):,} carts, each at its own time")
    questions = rows.drop(columns=["treated", "intervention"])
    return build_training_set(questions, feature_reader(settings, target), features=predictor.features)
