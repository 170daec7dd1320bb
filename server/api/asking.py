"""The models of requests and answers that follow from a schema."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from data.schema import Measure, Schema
from data.units import to_micros
from events.predictions.message import Role
from model.interventions import Basis
from server.api.schemas import (
    AS_OF,
    EXPLAIN,
    MAX_BATCH,
    PREDICTION_ID,
    TARGET,
    TOP_K,
    TOP_K_WORDS,
    Asked,
    AsOf,
    EntityId,
    FeatureValues,
    PredictionExplanation,
    RowError,
    Target,
    TopK,
    exact_number,
)
from server.scoring.question import Question

__all__ = ["Asking", "asking_of"]

_Fields = dict[str, Any]

_Label = Annotated[str, Field(max_length=256)]
_SUPPOSED = Annotated[float, Field(allow_inf_nan=False, strict=True)] | None


@dataclass(frozen=True)
class Asking:
    """Models of one schema's requests and answers. `question` converts a `row`, `query` or `body` to a `Question`.

    `query` is a question in a query string; `body` one in a body, where numbers must be JSON numbers; `row` is one of
    several questions, and `batch` all of these; `what_if` is a question with hypothetical features.
    """

    schema: Schema
    query: type[BaseModel]
    row: type[BaseModel]
    body: type[BaseModel]
    batch: type[BaseModel]
    what_if: type[BaseModel]
    prediction: type[BaseModel]
    batch_answer: type[BaseModel]
    what_if_answer: type[BaseModel]
    question: Callable[[Any], Question]


@cache
def asking_of(schema: Schema) -> Asking:
    """Return the models of a schema's requests and answers."""
    examples: dict[str, Any] = {name: f"{name.removesuffix('_id')}-17" for name in schema.asked_keys}
    examples |= {measure.name: _example(measure) for measure in schema.asked_measures}
    options: _Fields = {
        "explain": (bool, Field(False, description=EXPLAIN)),
        "top_k": (Annotated[TopK, BeforeValidator(exact_number)], Field(TOP_K, description=TOP_K_WORDS)),
        "target": (Target | None, Field(None, description=TARGET)),
    }
    strict: _Fields = options | {
        "explain": (Annotated[bool, Field(strict=True)], Field(False, description=EXPLAIN)),
        "top_k": (Annotated[TopK, Field(strict=True)], Field(TOP_K, description=TOP_K_WORDS)),
    }
    by_query, in_body = (
        _question_fields(schema, examples, strict=False),
        _question_fields(schema, examples, strict=True),
    )
    row = _model("BatchRow", "A question among others, in a body: numbers must be JSON numbers.", in_body)
    features: _Fields = {
        "features": (
            dict[str, _SUPPOSED],
            Field(
                max_length=1000,
                description="by name; null: nothing known. Features of the request follow from the others unless named",
            ),
        )
    }
    answer_fields = _answer_fields(schema)
    prediction = _model("Prediction", "An answer.", answer_fields | _PREDICTION, base=BaseModel)
    return Asking(
        schema,
        _model("PredictQuery", "A question in the query string.", by_query | options),
        row,
        _model("PredictRequest", "A question in a body: numbers must be JSON numbers.", in_body | strict, [examples]),
        _model(
            "BatchRequest",
            "Many questions at once.",
            {
                "rows": (list[row], Field(min_length=1, max_length=MAX_BATCH)),  # type: ignore[valid-type] # made above
                "target": options["target"],
            },
            [{"rows": [examples]}],
        ),
        _model(
            "WhatIfRequest",
            "A question, and features with hypothetical values.",
            in_body | features | {"target": options["target"]},
            [examples | {"features": {}}],
        ),
        prediction,
        _model(
            "BatchAnswer",
            "Answers, in the order of the rows; null for a row that has none, of which `errors` says why.",
            {"predictions": (list[prediction | None], ...), "errors": (list[RowError], ...)},  # type: ignore[valid-type]
            base=BaseModel,
        ),
        _model("WhatIfAnswer", _HYPOTHETICAL, answer_fields | _WHAT_IF, base=BaseModel),
        _question_of(schema),
    )


_HYPOTHETICAL = "A hypothetical answer, beside the one with the actual features."

_PREDICTION: _Fields = {
    "target": (str, Field(description="what was predicted")),
    "model_role": (Role, Field(description="the champion answers, or the challenger its share of users")),
    "cold_start": (bool, Field(description="whether something that the question names has never been seen")),
    "prediction_id": (str | None, Field(description=PREDICTION_ID)),
    "explanation": (PredictionExplanation | None, Field(None, description="where `explain` was asked for")),
    "risk_level": (
        Literal["LOW", "MEDIUM", "HIGH"] | None,
        Field(None, description="of `cart_abandonment` only"),
    ),
    "recommended_intervention": (str | None, Field(None, description="of `cart_abandonment` only")),
    "estimated_margin_impact": (
        float | None,
        Field(
            None,
            description="of `cart_abandonment` only: of the intervention, in the amount's currency; null without one",
        ),
    ),
    "impact_basis": (
        Basis | None,
        Field(None, description="of `cart_abandonment` only: whether an A/B log measured what the intervention does"),
    ),
}

_WHAT_IF: _Fields = {
    "hypothetical": (bool, Field(True, description="always: this is no prediction")),
    "actual_confidence": (float, Field(description="with the features as they are")),
}


def _model(
    name: str, words: str, fields: _Fields, examples: list[Any] | None = None, base: type[BaseModel] = Asked
) -> type[BaseModel]:
    if examples:
        extra = ConfigDict(json_schema_extra={"examples": examples})
        base = cast("type[BaseModel]", type(name, (base,), {"model_config": extra, "__module__": __name__}))
    return create_model(name, __base__=base, __doc__=words, __module__=__name__, **fields)


def _question_fields(schema: Schema, examples: dict[str, Any], *, strict: bool) -> _Fields:
    """Return the fields of a question; with `strict`, numbers must be JSON numbers."""
    fields: _Fields = {}
    for name in schema.asked_keys:
        if name in schema.keys:
            described = schema.keyed_by([name])
            text = described.description if described else f"what `{name}` names"
            fields[name] = EntityId, Field(description=text, examples=[examples[name]])
        else:
            text = f"the label `{name}`; without it, it has none"
            fields[name] = _Label | None, Field(None, description=text, examples=[examples[name]])
    for measure in schema.asked_measures:
        bounded = Annotated[float, Field(ge=measure.least, le=measure.most, allow_inf_nan=False)]
        kind: Any = Annotated[bounded, Field(strict=True) if strict else BeforeValidator(exact_number)]
        text = f"the `{measure.name}` at stake; without it, features of it are null"
        fields[measure.name] = kind | None, Field(None, description=text, examples=[examples[measure.name]])
    happening = "what is happening; checked, and not yet used by any feature"
    fields["event_type"] = (
        Literal[schema.type_names] | None,
        Field(None, description=happening, examples=[schema.type_names[-1]]),
    )
    fields["as_of"] = AsOf | None, Field(None, description=AS_OF, examples=["2026-11-21T03:04:05Z"])
    return fields


def _answer_fields(schema: Schema) -> _Fields:
    return {
        "prediction": (bool, Field(description="whether the confidence reaches the threshold")),
        "confidence": (float, Field(description="the probability that what the target asks about happens")),
        **{name: (str if name in schema.keys else str | None, ...) for name in schema.asked_keys},
        "features_used": (
            FeatureValues,
            Field(description="the model's inputs in its order; null where nothing is known"),
        ),
        "timestamp": (datetime, Field(description="the time at which the features are true")),
        "model_version": (str, ...),
        "threshold": (float, ...),
    }


def _example(measure: Measure) -> float:
    value = min(max(24.9, measure.least), measure.most)
    return round(value) if measure.is_whole else round(value, measure.decimals)


def _question_of(schema: Schema) -> Callable[[Any], Question]:
    """Return the function from a request to a `Question`, compiled from source because it runs for every question."""
    keys = ", ".join(f"{name!r}: asked.{name}" for name in schema.asked_keys)
    measures = "".join(f"asked.{measure.name}, " for measure in schema.asked_measures)
    when = "None if asked.as_of is None else to_micros(asked.as_of)"
    source = f"lambda asked: Question({{{keys}}}, ({measures}), {when})"
    function = eval(source, {"Question": Question, "to_micros": to_micros})  # noqa: S307 - of names that a schema has checked
    return cast("Callable[[Any], Question]", function)
