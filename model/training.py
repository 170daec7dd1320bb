"""Training: from examples to a model version that has been exported, checked and judged on its future."""

import hashlib
import platform
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import onnxruntime
import skl2onnx
import sklearn
from numpy.typing import NDArray

from data.clock import Clock, wall_clock
from data.errors import ModelError
from data.event import from_micros
from model.artifact import Artifact, name_version
from model.estimators import MakeEstimator, random_forest
from model.evaluation import best_f1_threshold, evaluate
from model.metadata import Metadata, Metrics, Part, Probe
from model.onnx_export import export_onnx
from model.predictor import Scorer
from model.split import split_by_time
from model.targets import Target
from model.training_set import TrainingSet

__all__ = ["MIN_ROWS", "train"]

MIN_ROWS = {"train": 200, "validation": 50, "test": 50}
"""Examples that each part needs: with fewer, a model and its metrics are noise."""

_PURCHASE_COUNT = "user_product_purchase_count"
_PROBE_ROWS = 8


def train(
    examples: TrainingSet,
    target: Target,
    *,
    feature_plan: str,
    make_estimator: MakeEstimator = random_forest,
    seed: int = 0,
    clock: Clock = wall_clock,
    progress: Callable[[str], None] = lambda message: None,  # noqa: ARG005 - by default nobody listens
) -> Artifact:
    """Train on the past, choose the threshold on validation, judge on test; the version, not yet kept anywhere.

    `feature_plan` is the hash of the plan that made the features. The same examples, seed and libraries give the same
    model. `progress` hears a line of text at each step.

    Raises `ModelError` when there are too few examples, a part has one class only, or ONNX and scikit-learn differ.
    """
    if not len(examples.labels):
        raise ModelError(f"{target.name}: no examples to learn from")
    split = split_by_time(examples.times_us, target.horizon_us)
    slices = {"train": split.train, "validation": split.validation, "test": split.test}
    parts = {name: _part(target, name, examples, place, split.note) for name, place in slices.items()}
    if split.note:
        progress(f"note: {split.note}")

    classifier = make_estimator(seed)
    estimator = type(classifier).__name__
    progress(f"fitting {estimator} on {parts['train'].rows} examples with {len(examples.features)} features")
    classifier.fit(examples.rows[split.train], examples.labels[split.train])

    progress("exporting to ONNX and comparing with scikit-learn")
    held_out = examples.rows[split.validation.start :]
    nothing_known = np.full((1, held_out.shape[1]), np.nan, np.float32)
    onnx = export_onnx(classifier, np.concatenate([held_out, nothing_known]))

    progress(f"judging on {parts['test'].rows} later examples")
    # The exported model is judged, not its parent: it is the one that will answer.
    scorer = Scorer(onnx, len(examples.features))
    labels = {name: examples.labels[place] for name, place in slices.items()}
    scores = {name: scorer.score(examples.rows[slices[name]]) for name in ("validation", "test")}
    threshold = best_f1_threshold(labels["validation"], scores["validation"])

    created = from_micros(clock())
    return Artifact(
        onnx,
        Metadata(
            version=name_version(created, onnx),
            target=target.name,
            horizon_us=target.horizon_us,
            feature_service=target.feature_service,
            created=created,
            features=examples.features,
            feature_plan=feature_plan,
            estimator=estimator,
            parameters=_parameters(classifier),
            seed=seed,
            candidates=examples.candidates,
            examples=len(examples.labels),
            parts=parts,
            gap_us=split.gap_us,
            note=split.note,
            threshold=threshold,
            metrics={name: evaluate(labels[name], scores[name], threshold) for name in scores},
            baselines=_baselines(examples, slices, labels),
            importances=_importances(examples.features, classifier),
            libraries=_libraries(),
            sha256=hashlib.sha256(onnx).hexdigest(),
            probe=_probe(scorer, np.concatenate([nothing_known, examples.rows[split.test]])),
        ),
    )


def _part(target: Target, name: str, examples: TrainingSet, place: slice, note: str) -> Part:
    """What a part holds, or the reason why it cannot serve."""
    labels, times = examples.labels[place], examples.times_us[place]
    if len(labels) < MIN_ROWS[name]:
        raise ModelError(
            f"{target.name}: {name} has {len(labels)} of {len(examples.labels)} examples and needs "
            f"{MIN_ROWS[name]}; bring a longer history" + (f" ({note})" if note else "")
        )
    base_rate = float(labels.mean())
    if base_rate in {0.0, 1.0}:
        raise ModelError(
            f"{target.name}: all {len(labels)} examples of {name} have label {int(base_rate)}, and a model learns from "
            "both; bring a longer history"
        )
    first, last = (_moment(times[end]) for end in (0, -1))
    return Part(rows=len(labels), base_rate=base_rate, first=first, last=last)


def _moment(time_us: np.int64) -> datetime:
    return from_micros(int(time_us))


def _baselines(
    examples: TrainingSet, slices: dict[str, slice], labels: dict[str, NDArray[np.int64]]
) -> dict[str, Metrics]:
    """What costs nothing, judged on test in the same way: always the base rate, and the pair's purchases so far."""
    constant = np.full(len(labels["test"]), labels["train"].mean())
    found = {"base_rate": evaluate(labels["test"], constant, threshold=float(constant[0]))}
    if _PURCHASE_COUNT in examples.features:
        counts = np.nan_to_num(examples.rows[:, examples.features.index(_PURCHASE_COUNT)].astype(np.float64))
        threshold = best_f1_threshold(labels["validation"], counts[slices["validation"]])
        found[_PURCHASE_COUNT] = evaluate(labels["test"], counts[slices["test"]], threshold, probabilities=False)
    return found


def _importances(features: tuple[str, ...], classifier: Any) -> dict[str, float]:
    """Each feature's share in what the estimator learned, highest first."""
    shares = dict(zip(features, np.asarray(classifier.feature_importances_).tolist(), strict=True))
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _parameters(classifier: Any) -> dict[str, Any]:
    """The settings that are plain values; a pipeline also names its steps, which are objects."""
    settings = classifier.get_params()
    return {name: value for name, value in settings.items() if isinstance(value, str | int | float | None)}


def _libraries() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "skl2onnx": skl2onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _probe(scorer: Scorer, rows: NDArray[np.float32]) -> Probe:
    chosen = rows[np.linspace(0, len(rows) - 1, _PROBE_ROWS).astype(int)]
    return Probe(
        rows=[[None if np.isnan(value) else float(value) for value in row] for row in chosen],
        scores=scorer.score(chosen).tolist(),
    )
