"""What is known about a model version: everything the server needs to use it and a person needs to judge it."""

from datetime import datetime
from typing import Any

import msgspec

from data.errors import ModelError

__all__ = ["FORMAT", "Metadata", "Metrics", "Part", "Probe", "decode_metadata", "encode_metadata"]

FORMAT = 1
"""The version of `metadata.json`; another one is refused."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """How well scores rank and decide. `brier` is null where a score is no probability."""

    roc_auc: float
    pr_auc: float
    precision: float
    recall: float
    f1: float
    brier: float | None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The examples of train, validation or test: how many, the share of ones, the first and last time."""

    rows: int
    base_rate: float
    first: datetime
    last: datetime


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Some inputs (null: NaN) and the scores the trained model gave them: a runtime that differs is found at load."""

    rows: list[list[float | None]]
    scores: list[float]


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """One model version. Maps are by part (`train`, `validation`, `test`), baseline, feature or library name.

    `feature_plan` is the hash of the plan that made the features, to be compared with the plan in use. `candidates`
    is the number of examples in the log, of which `parts` (and the gaps between them) hold all or a seeded sample.
    `gap_us` is the time between parts, a whole horizon unless `note` says otherwise. A score at or above `threshold`
    means yes. `metrics` are of the ONNX model at that threshold.
    """

    format: int = FORMAT
    version: str
    target: str
    horizon_us: int
    feature_service: str
    created: datetime
    features: tuple[str, ...]
    feature_plan: str
    estimator: str
    parameters: dict[str, Any]
    seed: int
    candidates: int
    examples: int
    parts: dict[str, Part]
    gap_us: int
    note: str
    threshold: float
    metrics: dict[str, Metrics]
    baselines: dict[str, Metrics]
    importances: dict[str, float]
    libraries: dict[str, str]
    sha256: str
    probe: Probe


class _Format(msgspec.Struct):
    format: int


def encode_metadata(metadata: Metadata) -> bytes:
    """The metadata as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(metadata), indent=2) + b"\n"


def decode_metadata(raw: bytes, where: str) -> Metadata:
    """Metadata from JSON; `where` is named by the `ModelError` raised when it is damaged or of another format."""
    try:
        found = msgspec.json.decode(raw, type=_Format).format
        if found != FORMAT:
            raise ModelError(f"{where}: format {found}; this Encore reads format {FORMAT}; train again")
        return msgspec.json.decode(raw, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{where}: not a model's metadata ({error}); restore it, or train again") from error
