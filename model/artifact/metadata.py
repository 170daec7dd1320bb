"""The metadata of a model version: what the server needs to use it and a person needs to judge it."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from data.errors import ModelError
from data.project import DEFAULT
from model.calibration import Calibration
from model.metrics import Evaluation, Histogram, Metrics
from model.targets import Target, target_named

__all__ = ["FORMAT", "Metadata", "Metrics", "Part", "Probe", "decode_metadata", "encode_metadata"]

FORMAT = 2
"""The format version of `metadata.json`; other versions are refused."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The examples of one part: their number, the share of label 1, the first and last time.

    `train` is everything that the model learned from. `validation` is its newest part, unseen by the first fit, on
    which calibration and threshold were chosen.
    """

    rows: int
    base_rate: float
    first: datetime
    last: datetime


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Sample inputs (null: NaN) and the trained model's scores of them, by which a deviating runtime is detected."""

    rows: list[list[float | None]]
    scores: list[float]


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """A model version. Maps are by part (`train`, `validation`, `test`), baseline, feature or library name.

    `meaning` describes label 1. `feature_plan` is the hash of the plan that computed the features, to be compared with
    the plan in use; `data_hash` is that of the examples, with features and labels. `candidates` is the number of
    examples in the log, of which `parts` (and the gap between them) hold all or a seeded sample. `gap_us` is the time
    between the training data and the test, a whole horizon unless `note` says otherwise.

    A score at or above `threshold`, chosen by `threshold_policy`, means yes. `metrics` are at that threshold: of the
    ONNX model on `test` (questions at their trigger) and on `later` (test questions some time after it), of the first
    fit on `validation`. `importances` are by permutation: the decrease of the test's ROC AUC without the feature.

    `choice` holds the cross-validation results of the compared estimators, best first, if one was chosen. `groups` is,
    for each period of a cross-validation over time, the decrease of PR AUC, in base rates, when a group of features is
    shuffled; the model does not use the groups `left_out`. `served_later` is the share of served questions that were
    asked later, which the mixture of its examples follows; null if unknown. `reference` holds each feature's
    distribution over the `train` questions that were asked as callers ask, against which drift is measured;
    `log_events` is the number of events in the log. `question` is the target as it was learned; null in models of an
    older Encore.
    """

    format: int = FORMAT
    version: str
    target: str
    meaning: str
    horizon_us: int
    feature_service: str
    created: datetime
    features: tuple[str, ...]
    feature_plan: str
    data_hash: str
    estimator: str
    parameters: dict[str, Any]
    seed: int
    candidates: int
    examples: int
    parts: dict[str, Part]
    gap_us: int
    note: str
    calibration: Calibration
    threshold: float
    threshold_policy: str
    metrics: dict[str, Metrics]
    baselines: dict[str, Metrics]
    evaluation: Evaluation | None
    importances: dict[str, float]
    libraries: dict[str, str]
    sha256: str
    explainer_sha256: str
    probe: Probe
    reference: dict[str, Histogram] = {}
    log_events: int = 0
    question: Target | None = None
    choice: dict[str, float] = {}
    groups: dict[str, list[float]] = {}
    left_out: tuple[str, ...] = ()
    served_later: float | None = None

    @property
    def asked(self) -> Target:
        """The question that the model learned, which may differ from its target's present definition."""
        # Models without `question` are of the package's own shop.
        return self.question or replace(target_named(self.target, DEFAULT), horizon_us=self.horizon_us)


class _Format(msgspec.Struct):
    format: int


def encode_metadata(metadata: Metadata) -> bytes:
    """Encode metadata as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(metadata), indent=2) + b"\n"


def decode_metadata(raw: bytes, where: str) -> Metadata:
    """Decode metadata. Raises `ModelError`, naming `where`, when it is damaged or of another format."""
    try:
        format_version = msgspec.json.decode(raw, type=_Format).format
        if format_version != FORMAT:
            raise ModelError(f"{where}: format {format_version}; this Encore reads format {FORMAT}; train again")
        return msgspec.json.decode(raw, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{where}: not a model's metadata ({error}); restore it, or train again") from error
