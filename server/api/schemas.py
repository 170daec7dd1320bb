"""Requests and answers of the API: their fields, rules and examples."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

from data.errors import AsOfError, EncoreError
from data.units import to_micros
from model.interventions import InterventionRule, intervene
from model.numbers.explanation import Explanation
from model.targets import CART_ABANDONMENT
from server.scoring.scoring import Answer

__all__ = [
    "AS_OF",
    "EXPLAIN",
    "MAX_BATCH",
    "MAX_RANK",
    "PREDICTION_ID",
    "TARGET",
    "TOP_K",
    "TOP_K_WORDS",
    "AsOf",
    "Asked",
    "EntityId",
    "FeatureValues",
    "FeaturesAnswer",
    "Health",
    "KnownFeatures",
    "LastPredictionMade",
    "Liveness",
    "ModelHealth",
    "ModelInfo",
    "ModelMetrics",
    "PredictOptions",
    "PredictionExplanation",
    "ProductFeaturesAnswer",
    "RankRequest",
    "Ranking",
    "RedisHealth",
    "RowError",
    "Target",
    "TopK",
    "exact_number",
    "told",
    "told_errors",
]

MAX_BATCH = 1000
"""The most rows of one batch."""

MAX_RANK = 500
"""The most products of one ranking."""

FeatureValues = dict[str, int | float | None]
"""Features by name; null where undefined."""

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has unprintable characters")
    return text


def _moment(value: Any) -> datetime:
    """Parse an RFC 3339 time with zone, by the rule for events."""
    if not isinstance(value, str):
        raise ValueError("is not a text such as 2026-11-21T03:04:05Z")
    try:
        moment = msgspec.convert(value, _Moment)
    except msgspec.ValidationError as error:
        raise ValueError("is not an RFC 3339 time with a zone, such as 2026-11-21T03:04:05Z") from error
    if to_micros(moment) < 0:
        raise ValueError("is before 1970")
    return moment


EntityId = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
"""A user's or product's id: 1 to 128 printable characters, as in events."""

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def exact_number(value: Any) -> Any:
    """Refuse numbers in a query string that are not written as in JSON: Python would take 1_000, or other digits."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("is not a number as in JSON, such as 24.9")
    return value


AsOf = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]
"""A time to answer about."""

Target = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""A target's name."""

TOP_K = 10
"""How many features an explanation names."""

TopK = Annotated[int, Field(ge=1, le=1000)]
_SaidTopK = Annotated[TopK, BeforeValidator(exact_number)]

AS_OF = (
    "the time to answer about (RFC 3339 with a zone); by default now. A state cannot answer about a time that lies "
    "more than five minutes before its newest event"
)
EXPLAIN = "whether to say what each feature contributed; it takes tens of milliseconds"
TOP_K_WORDS = "with `explain`: how many features to name, the largest contributions first"
TARGET = "what is predicted; by default the first target of this server"


PREDICTION_ID = "names the answer for `encore replay`; null where answers are not kept"


class Asked(BaseModel):
    """What a request says; a name that it should not have is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PredictOptions(Asked):
    """The query parameters of a POST; they override the body."""

    explain: bool | None = Field(None, description=EXPLAIN)
    top_k: _SaidTopK | None = Field(None, description=TOP_K_WORDS)
    target: Target | None = Field(None, description=TARGET)


class RankRequest(Asked):
    """A user, and the products to rank."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user_id": "user-17", "products": ["coffee-3", "sofa-1", "tea-9"]}]}
    )

    user_id: EntityId = Field(description="who")
    products: list[EntityId] = Field(min_length=1, max_length=MAX_RANK, description="what; each once")
    as_of: AsOf | None = Field(None, description=AS_OF)
    target: Target | None = Field(None, description=TARGET)

    @field_validator("products")
    @classmethod
    def _different(cls, products: list[str]) -> list[str]:
        if len(set(products)) < len(products):
            raise ValueError("names a product twice")
        return products


class Contribution(BaseModel):
    """What one feature adds to the log-odds; negative values subtract."""

    feature: str
    value: int | float | None
    contribution: float


class PredictionExplanation(BaseModel):
    """How the score is composed: log-odds = base + the contributions + rest, exactly (except for rounding)."""

    log_odds: float = Field(description="of the confidence: ln(p / (1 - p))")
    base: float = Field(description="the log-odds before anything is known of the question")
    contributions: list[Contribution] = Field(description="the largest, by size")
    rest: float = Field(description="the sum of all other contributions")


def told(
    answer: Answer, rules: tuple[InterventionRule, ...], explanation: Explanation | None = None, top_k: int = TOP_K
) -> dict[str, Any]:
    """Return the answer in the form of `Prediction`, without validating the server's own values.

    `rules` are the interventions for carts that may be abandoned.
    """
    predictor = answer.predictor
    content: dict[str, Any] = {
        "prediction": answer.prediction,
        "confidence": answer.probability,
        **answer.question.named,
        "features_used": answer.features,
        "timestamp": answer.at,
        "target": predictor.metadata.target,
        "model_version": predictor.version,
        "model_role": answer.role,
        "threshold": predictor.threshold,
        "cold_start": answer.cold_start,
        "prediction_id": answer.id or None,
    }
    if predictor.metadata.target == CART_ABANDONMENT.name:
        content |= msgspec.to_builtins(intervene(answer.probability, next(iter(answer.question.measures), None), rules))
    if explanation is not None:
        content["explanation"] = _explanation_content(answer, explanation, top_k)
    return content


def told_errors(answers: Sequence[Answer | EncoreError]) -> list[dict[str, Any]]:
    """Return the errors of questions without an answer, in the form of `RowError`."""
    return [
        {"row": row, "type": "as_of" if isinstance(answer, AsOfError) else "unavailable", "detail": str(answer)}
        for row, answer in enumerate(answers)
        if isinstance(answer, EncoreError)
    ]


def _explanation_content(answer: Answer, explanation: Explanation, top_k: int) -> dict[str, Any]:
    shares = explanation.contributions[0].tolist()
    largest = sorted(range(len(shares)), key=lambda place: -abs(shares[place]))
    features = answer.predictor.features
    return {
        "log_odds": explanation.base + sum(shares),
        "base": explanation.base,
        "contributions": [
            {"feature": features[place], "value": answer.values[place], "contribution": shares[place]}
            for place in largest[:top_k]
        ],
        "rest": sum(shares[place] for place in largest[top_k:]),
    }


class RowError(BaseModel):
    """Why one of several questions has no answer, and its place among them, from 0."""

    row: int
    type: Literal["as_of", "unavailable"]
    detail: str


class Ranked(BaseModel):
    """One product with its rank."""

    product_id: str
    confidence: float
    prediction: bool
    cold_start: bool
    prediction_id: str | None = Field(description=PREDICTION_ID)


class Ranking(BaseModel):
    """The products by descending score; equal ones in the order of the request."""

    user_id: str
    model_version: str
    threshold: float
    ranking: list[Ranked]
    errors: list[RowError] = Field(description="products that have no place, and why; `row` counts those asked about")


class KnownFeatures(BaseModel):
    """Features at a time, and how old what they are computed from is."""

    timestamp: datetime = Field(description="the time at which the features are true")
    features: FeatureValues
    last_event: dict[str, datetime | None] = Field(
        description="by entity, the newest event's time; null where there is none",
        examples=[{"user": "2026-11-21T03:04:05Z"}],
    )
    age_seconds: dict[str, float | None] = Field(
        description="by entity, the time from its newest event to `timestamp`", examples=[{"user": 12.5}]
    )


class FeaturesAnswer(KnownFeatures):
    """Features of a user, and of a product and the pair where a product is named."""

    user_id: str
    product_id: str | None


class ProductFeaturesAnswer(KnownFeatures):
    """Features of a product."""

    product_id: str


class RedisHealth(BaseModel):
    """Whether the online store answers."""

    ok: bool
    error: str | None
    newest_event: datetime | None = Field(description="time of the newest event folded by anyone")


class ModelHealth(BaseModel):
    """Whether a model is loaded."""

    loaded: bool
    version: str | None
    error: str | None = Field(description="why the registry's champion is not the model in use")


class LastPredictionMade(BaseModel):
    """The newest prediction of this process, beside the keys and labels that it is about; `at` is wall-clock time."""

    model_config = ConfigDict(extra="allow")

    at: datetime
    confidence: float
    prediction: bool


class Health(BaseModel):
    """The server's health; `unavailable` (and 503) when it cannot predict.

    `degraded`: it answers, but the stream is stalled or the online store lacks states.
    """

    status: Literal["ok", "degraded", "unavailable"]
    redis: RedisHealth
    model: ModelHealth
    version: str = Field(description="of Encore")
    feature_plan: str = Field(description="hash of the compiled definitions")
    requests: int = Field(description="calls to score or to read features since the process started")
    predictions: int
    damaged_states: int = Field(description="states that could not be read, whose entities were served as never seen")
    last_prediction: LastPredictionMade | None
    problems: list[str] = Field([], description="of the stream and the online store; left out where there are none")
    doubtful: list[str] = Field([], description="entities for which it cannot vouch: states of some are missing")


class ModelMetrics(BaseModel):
    """Metrics of the model in use on its validation and test, at its threshold, with its baselines."""

    version: str
    target: str
    created: datetime
    threshold: float
    metrics: dict[str, dict[str, Any]]
    baselines: dict[str, dict[str, Any]]
    parts: dict[str, dict[str, Any]] = Field(description="train, validation and test: rows, base rate, times")


class Liveness(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class ModelInfo(ModelMetrics):
    """The model that answers, and its test metrics."""

    horizon_days: float
    estimator: str
    parameters: dict[str, Any]
    features: list[str] = Field(description="the model's inputs in order")
    feature_plan: str = Field(description="hash of the definitions that it was trained with")
    feature_service: str
    metrics: dict[str, dict[str, float | None]] = Field(description="on validation and test, at the threshold")
    baselines: dict[str, dict[str, float | None]]
    importances: dict[str, float]
    examples: int
    note: str
    libraries: dict[str, str]
