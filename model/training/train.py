"""Training: from examples to a model version that is calibrated, exported, verified and evaluated."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.clock import Clock, wall_clock
from data.errors import TrainingError
from data.units import from_micros
from model.artifact.artifact import Artifact, name_version
from model.artifact.metadata import Metadata, Part, Probe
from model.artifact.predictor import Scorer
from model.calibration import Calibration
from model.estimators.base import Estimator
from model.estimators.catalogue import AUTO, BASELINE, check_estimator, fit_estimator, make_estimator
from model.evaluation.drift import MIN_ROWS as DRIFT_ROWS
from model.evaluation.drift import reference_of
from model.evaluation.judge import judge, permutation_importances
from model.evaluation.learning_curve import learning_curve
from model.evaluation.ranking import roc_auc
from model.evaluation.threshold import ThresholdPolicy
from model.examples.mixture import kept_in_mixture
from model.examples.split import Periods, Split, split_by_time
from model.examples.training_set import TrainingSet
from model.numbers.calibration import probabilities
from model.numbers.explanation import encode_shares, shares_of
from model.targets import Target
from model.training.calibrate import carry_over, fit_sigmoid
from model.training.groups import group_falls
from model.training.onnx_export import export_onnx
from model.training.tuning import compare_estimators, time_folds, tune, usable_folds

__all__ = ["MIN_ROWS", "TrainOptions", "train"]

MIN_ROWS = {"train": 200, "validation": 50, "test": 50}
"""Fewest examples of each part: with fewer, a model and its metrics are noise."""

_LEARNED = ("learn", "train", "validation")
_PROBE_ROWS = 8
_CHECKED_ROWS = 20_000
_ORACLE, _ORACLE_ROWS = 0.99, 5_000

Progress = Callable[[str], None]
Rows = Mapping[str, NDArray[np.int64]]
Fit = Callable[[NDArray[np.int64]], Estimator]
"""Fits a model on the examples at the given indices."""


@dataclass(frozen=True)
class TrainOptions:
    """Options of training: an estimator's name or `auto`, parameters that replace its defaults, and the evaluation.

    `tune` is the number of parameter sets to try; `left_out` are the groups of features not to use.
    """

    estimator: str = BASELINE
    parameters: Mapping[str, Any] = field(default_factory=dict)
    threshold: ThresholdPolicy = field(default_factory=ThresholdPolicy)
    periods: Periods = field(default_factory=Periods)
    tune: int = 0
    seed: int = 0
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.estimator != AUTO:
            check_estimator(self.estimator)


def train(
    examples: TrainingSet,
    target: Target,
    *,
    feature_plan: str,
    options: TrainOptions | None = None,
    groups: Mapping[str, str] | None = None,
    clock: Clock = wall_clock,
    progress: Progress = lambda message: None,  # noqa: ARG005 - silent by default
) -> Artifact:
    """Fit a model, calibrate it and choose its threshold on validation, and evaluate it on test; nothing is stored.

    A first fit, without the validation, determines calibration and threshold on it. The model is then fitted on the
    whole training period, since the newest examples resemble served questions most. For other estimators, the forest is
    trained in the same way as a baseline.

    `feature_plan` is the hash of the plan that computed the features. With `groups`, the group of each feature, the
    worth of the groups is measured. The same examples, options and libraries give the same model. `progress` receives a
    line of text at each step.

    Raises `TrainingError` if there are too few examples or a part has one class only, `ConfigurationError` for an
    unknown estimator, `ModelError` if the exported model and the trained one differ.
    """
    options = options or TrainOptions()
    if options.estimator != AUTO:
        make_estimator(options.estimator, options.seed, options.parameters)  # fails early for invalid options
    if not len(examples.labels):
        raise TrainingError(f"{target.name}: no examples to learn from")
    split = split_by_time(examples.times_us, target.horizon_us, options.periods)
    rows = _as_served(examples, _rows(examples, split), options.seed, progress)
    parts = {name: _part(target, name, examples, rows[name], split.note) for name in MIN_ROWS}
    parts["train"] = _described(examples, rows["learn"])
    if split.note:
        progress(f"note: {split.note}")

    _refuse_oracles(examples, rows["learn"])
    name, parameters, choice = _chosen(examples, rows["learn"], target, options, progress)

    def make(kind: str, overrides: Mapping[str, Any]) -> Fit:
        return lambda places: fit_estimator(
            kind, options.seed, overrides, examples.rows[places], examples.labels[places]
        )

    fit = make(name, parameters)

    progress(f"fitting {name} on {len(rows['train']):,} examples with {len(examples.features)} features")
    estimator, calibration, validated = _fitted(examples, rows, fit, progress)

    progress("exporting to ONNX and comparing with what was trained")
    nothing_known = np.full((1, len(examples.features)), np.nan, np.float32)
    newest = examples.rows[split.validation.start :][:_CHECKED_ROWS]
    onnx = export_onnx(estimator, calibration, np.concatenate([newest, nothing_known]))

    progress(f"judging on {parts['test'].rows:,} examples later still")
    # The exported model is evaluated, since it is the one that is served.
    scorer = Scorer(onnx, len(examples.features), threads=0)
    others = {} if name == BASELINE else {BASELINE: _baseline(examples, rows, make(BASELINE, {}))}
    verdict = judge(examples, rows, scorer, options.threshold, validated=validated, beside=others, seed=options.seed)
    falls: dict[str, list[float]] = {}
    if groups is not None:
        progress("shuffling each group of features, over time")
        folds = usable_folds(examples, rows["learn"], target.horizon_us, seed=options.seed)
        falls = group_falls(examples, folds, groups, fit, seed=options.seed)
    progress("learning again from less, for the learning curve")
    learning = learning_curve(examples, rows["learn"], rows["test"], fit, estimator)
    importances = permutation_importances(examples, rows["test"], scorer, seed=options.seed)

    explainer = encode_shares(shares_of(estimator.numbers()))
    created = from_micros(clock())
    return Artifact(
        onnx,
        Metadata(
            version=name_version(created, onnx),
            target=target.name,
            meaning=target.meaning,
            horizon_us=target.horizon_us,
            feature_service=target.feature_service,
            created=created,
            features=examples.features,
            feature_plan=feature_plan,
            data_hash=examples.hash(),
            estimator=estimator.name,
            parameters=dict(estimator.parameters),
            seed=options.seed,
            candidates=examples.candidates,
            examples=len(examples.labels),
            parts=parts,
            gap_us=split.gap_us,
            note=split.note,
            calibration=calibration,
            threshold=verdict.threshold,
            threshold_policy=str(options.threshold),
            metrics=verdict.metrics,
            baselines=verdict.baselines,
            evaluation=msgspec.structs.replace(verdict.evaluation, learning=learning),
            importances=importances,
            libraries=_libraries(estimator),
            sha256=hashlib.sha256(onnx).hexdigest(),
            explainer_sha256=hashlib.sha256(explainer).hexdigest(),
            probe=_probe(scorer, np.concatenate([nothing_known, examples.rows[rows["test"]]])),
            reference=reference_of(examples.features, examples.rows[_as_callers_ask(examples, rows["learn"])]),
            log_events=examples.log_events,
            question=target,
            choice=choice,
            groups=falls,
            left_out=options.left_out,
            served_later=examples.served_later,
        ),
        explainer,
    )


def _refuse_oracles(examples: TrainingSet, rows: NDArray[np.int64]) -> None:
    """Raise TrainingError for a feature that alone determines the label, which indicates leakage from the future."""
    sampled = rows[:: max(1, len(rows) // _ORACLE_ROWS)]
    labels = examples.labels[sampled]
    if not 0 < labels.sum() < len(labels):
        return
    for place, name in enumerate(examples.features):
        values = np.nan_to_num(examples.rows[sampled, place].astype(np.float64), nan=-np.inf)
        if abs(roc_auc(labels, values) - 0.5) > _ORACLE / 2:
            raise TrainingError(
                f"feature {name} alone tells nearly every label of {len(sampled)} examples: it knows the future; a "
                "feature may use only what happened up to the question"
            )


def _chosen(
    examples: TrainingSet, rows: NDArray[np.int64], target: Target, options: TrainOptions, progress: Progress
) -> tuple[str, Mapping[str, Any], dict[str, float]]:
    """Return the estimator and parameters to fit, and the cross-validation results by which it was chosen."""
    name, parameters, choice = options.estimator, options.parameters, dict[str, float]()
    if name != AUTO and not options.tune:
        return name, parameters, choice
    folds = time_folds(examples, rows, target.horizon_us, seed=options.seed)
    if name == AUTO:
        choice = compare_estimators(examples, folds, seed=options.seed, progress=progress)
        name = next(iter(choice))
    if options.tune:
        parameters = tune(examples, folds, name, parameters, trials=options.tune, seed=options.seed, progress=progress)
    return name, parameters, choice


def _fitted(
    examples: TrainingSet, rows: Rows, fit: Fit, progress: Progress
) -> tuple[Estimator, Calibration, NDArray[np.float64]]:
    """Return a model of the whole training period, its calibration, and the first fit's probabilities of validation.

    The first fit, without the validation, is calibrated on it; the calibration is carried over to the second.
    """
    later, labels = examples.rows[rows["validation"]], examples.labels[rows["validation"]]
    first_model = fit(rows["train"])
    held_out = first_model.score(later)
    progress(f"calibrating on {len(labels):,} later examples")
    calibration = fit_sigmoid(held_out, labels)
    progress(f"fitting {first_model.name} again, on all {len(rows['learn']):,} examples to learn from")
    model = fit(rows["learn"])
    return (
        model,
        carry_over(calibration, held_out, model.score(later)),
        probabilities(calibration, held_out),
    )


def _baseline(examples: TrainingSet, rows: Rows, fit: Fit) -> dict[str, NDArray[np.float64]]:
    """Return the probabilities of validation and test of a baseline that is trained in the same way."""
    model, calibration, validated = _fitted(examples, rows, fit, lambda _: None)
    return {"validation": validated, "test": probabilities(calibration, model.score(examples.rows[rows["test"]]))}


def _rows(examples: TrainingSet, split: Split) -> dict[str, NDArray[np.int64]]:
    """Return the indices of each part's examples: `learn` is `train` with the following gap and validation.

    The test's examples are in two parts: those asked at their trigger (`test`), and those asked later (`later`).
    """
    everything = np.arange(len(examples.labels))
    test = everything[split.test]
    asked_later = np.zeros(len(test), np.bool_) if examples.later is None else examples.later[test]
    return {
        "learn": everything[split.train.start : split.validation.stop],
        "train": everything[split.train],
        "validation": everything[split.validation],
        "test": test[~asked_later],
        "later": test[asked_later],
    }


def _as_served(examples: TrainingSet, rows: Rows, seed: int, progress: Progress) -> Rows:
    """Return the parts, with the training parts sampled to the mixture of served questions, if that is known."""
    if examples.served_later is None or examples.later is None:
        return rows
    mask = kept_in_mixture(examples.later, examples.served_later, seed=seed)
    mixed = {name: places[mask[places]] if name in _LEARNED else places for name, places in rows.items()}
    if any(len(mixed[name]) < 2 * MIN_ROWS[name] for name in ("train", "validation")):
        progress("note: too few examples to learn in the mixture that serving sees; all are learned from")
        return rows
    progress(
        f"learning from {len(mixed['learn']):,} of {len(rows['learn']):,} examples, as questions are served: "
        f"{examples.served_later:.0%} of them later"
    )
    return mixed


def _as_callers_ask(examples: TrainingSet, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the examples asked some time after their trigger, as most callers ask; all if these are too few."""
    later = rows if examples.later is None else rows[examples.later[rows]]
    return later if len(later) >= DRIFT_ROWS else rows


def _part(target: Target, name: str, examples: TrainingSet, rows: NDArray[np.int64], note: str) -> Part:
    """Return the description of a part. Raises TrainingError, with the reason, if it is unusable."""
    labels = examples.labels[rows]
    if len(labels) < MIN_ROWS[name]:
        raise TrainingError(
            f"{target.name}: {name} has {len(labels)} of {len(examples.labels)} examples and needs "
            f"{MIN_ROWS[name]}; bring a longer history, or other dates" + (f" ({note})" if note else "")
        )
    if labels.min() == labels.max():
        raise TrainingError(
            f"{target.name}: all {len(labels)} examples of {name} have label {labels[0]}, and a model learns from "
            "both; bring a longer history, or ask about another horizon"
        )
    return _described(examples, rows)


def _described(examples: TrainingSet, rows: NDArray[np.int64]) -> Part:
    first, last = (from_micros(int(examples.times_us[rows[end]])) for end in (0, -1))
    return Part(rows=len(rows), base_rate=float(examples.labels[rows].mean()), first=first, last=last)


def _libraries(estimator: Estimator) -> dict[str, str]:
    names = ("numpy", "scikit-learn", "onnx", "onnxruntime", "treelite")
    versions = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}
    return versions | ({estimator.library.module: estimator.library.version()} if estimator.library.extra else {})


def _probe(scorer: Scorer, rows: NDArray[np.float32]) -> Probe:
    chosen = rows[np.linspace(0, len(rows) - 1, _PROBE_ROWS).astype(int)]
    return Probe(
        rows=[[None if np.isnan(value) else float(value) for value in row] for row in chosen],
        scores=scorer.score(chosen).tolist(),
    )
