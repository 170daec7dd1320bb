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
"""The version of `metadata.json`; another one is refused."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Examples of one part: their number, the share of label 1, the first and last time.

    `train` is everything that the model learned from. `validation` is its newest part, unseen by the first fit, which
    chose calibration and threshold.
    """

    rows: int
    base_rate: float
    first: datetime
    last: datetime


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Some inputs (null: NaN) and the trained model's scores of them: a runtime that differs is detected on load."""

    rows: list[list[float | None]]
    scores: list[float]


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """One model version. Maps are by part (`train`, `validation`, `test`), baseline, feature or library name.

    `meaning` says what label 1 means. `feature_plan` is the hash of the plan that made the features, to be compared
    with the plan in use; `data_hash` is that of the examples, features and labels alike. `candidates` is the number of
    examples in the log, of which `parts` (and the gap between them) hold all or a seeded sample. `gap_us` is the time
    between what is learned from and the test, a whole horizon unless `note` says otherwise.

    A score at or above `threshold`, chosen by `threshold_policy`, means yes. `metrics` are at that threshold: of the
    ONNX model on `test` (questions at their trigger) and on `later` (test questions some time after it), of the first
    fit on `validation`. `importances` are by permutation: how much the test's ROC AUC falls without the feature.

    `choice` holds the cross-validation of the estimators that were compared, the best first, where one was chosen.
    `groups` says, for each period of such a one, how much the PR AUC falls, in base rates, where a group of features is
    shuffled; the model does without those `left_out`. `served_later` is the share of served questions that were asked
    later, which its examples follow; null where it was not known.
    `reference` holds each feature's distribution over what of `train` was asked as callers ask, from which drift is
    measured; `log_events` is the number of events in the log. `question` is what was learned, whole; null in models of
    an older Encore.
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
        """The question that the model answers: the one it learned, whatever its target asks by default."""
        # Models older than `question` are of the package's own shop.
        return self.question or replace(target_named(self.target, DEFAULT), horizon_us=self.horizon_us)


class _Format(msgspec.Struct):
    format: int


def encode_metadata(metadata: Metadata) -> bytes:
    """Encode metadata as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(metadata), indent=2) + b"\n"


def decode_metadata(raw: bytes, where: str) -> Metadata:
    """Decode metadata. Raises `ModelError`, naming `where`, when it is damaged or of another format."""
    try:
        found = msgspec.json.decode(raw, type=_Format).format
        if found != FORMAT:
            raise ModelError(f"{where}: format {found}; this Encore reads format {FORMAT}; train again")
        return msgspec.json.decode(raw, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{where}: not a model's metadata ({error}); restore it, or train again") from error
