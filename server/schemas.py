"""What callers send and get: the shapes of requests and answers, their rules and examples."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from data.event import EventType, to_micros
from server.scoring import Answer, Question

__all__ = [
    "MAX_BATCH",
    "BatchAnswer",
    "BatchRequest",
    "EntityId",
    "FeatureValues",
    "FeaturesAnswer",
    "Health",
    "LastPredictionMade",
    "ModelHealth",
    "ModelInfo",
    "PredictQuery",
    "PredictRequest",
    "Prediction",
    "RedisHealth",
    "told",
]

MAX_BATCH = 1000
"""Rows in one batch."""

FeatureValues = dict[str, int | float | None]
"""Features by name; null where there is nothing to say."""

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has unprintable characters")
    return text


def _moment(value: Any) -> datetime:
    """An RFC 3339 time with zone, by the rule that events obey."""
    if not isinstance(value, str):
        raise ValueError("is not a text such as 2026-11-21T03:04:05Z")
    try:
        return msgspec.convert(value, _Moment)
    except msgspec.ValidationError as error:
        raise ValueError("is not an RFC 3339 time with a zone, such as 2026-11-21T03:04:05Z") from error


EntityId = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
"""A user's or product's id: 1 to 128 printable characters, as in events."""

_Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
_AMOUNT = "what the purchase would cost; without it, features of the amount are null"

_AsOf = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]


class PredictQuery(BaseModel):
    """A question in the query string."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: EntityId = Field(description="who", examples=["user-17"])
    product_id: EntityId = Field(description="what", examples=["coffee-3"])
    amount: _Amount | None = Field(None, description=_AMOUNT, examples=[24.9])
    event_type: EventType | None = Field(
        None, description="what the user is doing; checked, and not yet used by any feature", examples=["purchase"]
    )
    as_of: _AsOf | None = Field(
        None,
        description="the time to answer about (RFC 3339 with a zone); by default now. A state cannot answer about a "
        "time before its newest event",
        examples=["2026-11-21T03:04:05Z"],
    )

    def question(self) -> Question:
        """The question in the server's own terms."""
        return Question(
            self.user_id, self.product_id, self.amount, None if self.as_of is None else to_micros(self.as_of)
        )


class PredictRequest(PredictQuery):
    """A question in a body: numbers are numbers."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user_id": "user-17", "product_id": "coffee-3", "amount": 24.9}]}
    )

    amount: Annotated[_Amount, Field(strict=True)] | None = Field(None, description=_AMOUNT, examples=[24.9])


class BatchRequest(BaseModel):
    """Many questions at once."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "rows": [
                        {"user_id": "user-17", "product_id": "coffee-3", "amount": 24.9},
                        {"user_id": "user-17", "product_id": "sofa-1"},
                    ]
                }
            ]
        },
    )

    rows: list[PredictRequest] = Field(min_length=1, max_length=MAX_BATCH)


class Prediction(BaseModel):
    """An answer."""

    model_config = ConfigDict(protected_namespaces=())

    prediction: bool = Field(description="whether the confidence reaches the threshold")
    confidence: float = Field(description="the probability that the user buys the product again")
    user_id: str
    product_id: str
    features_used: FeatureValues = Field(description="the model's inputs in its order; null where nothing is known")
    timestamp: datetime = Field(description="the time at which the features are true")
    model_version: str
    threshold: float
    cold_start: bool = Field(description="whether the user or the product has never been seen")


def told(answer: Answer) -> dict[str, Any]:
    """The answer as `Prediction` describes it. What the server makes itself it does not check again."""
    predictor = answer.predictor
    return {
        "prediction": answer.prediction,
        "confidence": answer.probability,
        "user_id": answer.question.user_id,
        "product_id": answer.question.product_id,
        "features_used": dict(zip(predictor.features, answer.values, strict=True)),
        "timestamp": answer.at,
        "model_version": predictor.version,
        "threshold": predictor.threshold,
        "cold_start": answer.cold_start,
    }


class BatchAnswer(BaseModel):
    """Answers, in the order of the rows."""

    predictions: list[Prediction]


class FeaturesAnswer(BaseModel):
    """What is known of a user, and of a product and the two together where one is named."""

    user_id: str
    product_id: str | None
    timestamp: datetime = Field(description="the time at which the features are true")
    features: FeatureValues
    last_event: dict[str, datetime | None] = Field(
        description="by entity (user, product, user_product), the newest event's time; null where there is none",
        examples=[{"user": "2026-11-21T03:04:05Z"}],
    )


class RedisHealth(BaseModel):
    """Whether the online store answers."""

    ok: bool
    error: str | None
    newest_event: datetime | None = Field(description="time of the newest event folded by anyone")


class ModelHealth(BaseModel):
    """Whether there is a model."""

    loaded: bool
    version: str | None
    error: str | None = Field(description="why the registry's champion is not the model in use")


class LastPredictionMade(BaseModel):
    """The newest prediction of this process; `at` is the wall clock's."""

    at: datetime
    user_id: str
    product_id: str
    confidence: float
    prediction: bool


class Health(BaseModel):
    """How the server is; `unavailable` (and 503) when it cannot predict."""

    status: str = Field(examples=["ok"])
    redis: RedisHealth
    model: ModelHealth
    version: str = Field(description="of Encore")
    feature_plan: str = Field(description="hash of the compiled definitions")
    requests: int = Field(description="calls to score or to read features since the process started")
    predictions: int
    damaged_states: int = Field(description="states that could not be read, whose entities were served as never seen")
    last_prediction: LastPredictionMade | None


class ModelInfo(BaseModel):
    """The model that answers, and how well it did on its test."""

    version: str
    target: str
    horizon_days: float
    created: datetime
    estimator: str
    parameters: dict[str, Any]
    features: list[str] = Field(description="the model's inputs in order")
    feature_plan: str = Field(description="hash of the definitions that it was trained with")
    feature_service: str
    threshold: float
    metrics: dict[str, dict[str, float | None]] = Field(description="on validation and test, at the threshold")
    baselines: dict[str, dict[str, float | None]]
    importances: dict[str, float]
    parts: dict[str, dict[str, Any]] = Field(description="train, validation and test: rows, base rate, times")
    examples: int
    note: str
    libraries: dict[str, str]
