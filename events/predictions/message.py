"""A prediction as a message of the topic `predictions`, from which a model is judged when the outcome is known.

The key names the subject of the question, the first key that a schema asks for (the user's id); the value is JSON, with
the asked keys under their own names (`user_id`, `product_id`) and `features` by name (null: undefined).
"""

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from data.default_shop import SHOP
from data.schema import Schema

__all__ = [
    "LIVE",
    "MAX_PREDICTION_BYTES",
    "PREDICTIONS_TOPIC",
    "Origin",
    "Prediction",
    "Receipt",
    "Role",
    "Shadow",
    "decode_prediction",
    "encode_prediction",
    "prediction_class",
]

PREDICTIONS_TOPIC = "predictions"

MAX_PREDICTION_BYTES = 1024 * 1024
"""A larger message is no prediction, and is not read: one is about 3 kB."""

Role = Literal["champion", "challenger"]

Origin = Literal["live", "console", "probe"]
"""Who asked: the shop itself, the console, or a probe that only checks that there is an answer."""

LIVE: Origin = "live"
"""The only questions by which a model is judged, and drift is found."""


_Text = Annotated[str, msgspec.Meta(max_length=256)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Shadow(msgspec.Struct, frozen=True):
    """The challenger's score of the same question, in the shadow: computed and not answered."""

    model: _Text
    score: float
    threshold: float


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a score was computed from, so that the event log can reproduce it.

    `sha256` is that of the model, `plan` the hash of the definitions. `entities` are those that were read, by name, and
    `fences` the bytes of their fences (`docs/online-format.md`; empty: it had no events that could be read). `measures`
    are the request's, in the schema's order. `last_event_us` is the newest event that was read, UTC µs; 0 where there
    was none.
    """

    sha256: _Text
    plan: _Text
    entities: tuple[_Text, ...]
    fences: tuple[bytes, ...]
    measures: tuple[float | None, ...]
    last_event_us: int


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer; `prediction_class` makes the class of a schema's, with what it asks as fields.

    `timestamp` is when it was given, `as_of` the time that it is about, at which its features are true.

    `model` is the version that answered, in the role `role`; a score at or above `threshold` is a yes. `features` stay
    undecoded JSON, since few readers need them. Messages older than `origin` are live, and those older than `receipt`
    have none.
    """

    if TYPE_CHECKING:

        def __init__(self, **fields: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

    id: _Text
    timestamp: _Time
    as_of: _Time
    target: _Text
    model: _Text
    role: Role
    score: float
    threshold: float
    prediction: bool
    cold_start: bool
    shadow: Shadow | None
    features: msgspec.Raw
    origin: Origin = LIVE
    receipt: Receipt | None = None


@cache
def prediction_class(schema: Schema) -> type[Prediction]:
    """Return the class of predictions about what a schema asks."""
    fields: Any = [(name, _Text if name in schema.keys else _Text | None) for name in schema.asked_keys]
    options: dict[str, Any] = {"frozen": True, "kw_only": True, "module": __name__}
    made: type[Prediction] = msgspec.defstruct("Prediction", fields, bases=(Prediction,), **options)  # type: ignore[assignment]
    return made


@cache
def _decoder(schema: Schema) -> msgspec.json.Decoder[Prediction]:
    return msgspec.json.Decoder(prediction_class(schema))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_encode = msgspec.json.Encoder().encode
_decode_features = msgspec.json.Decoder(dict[str, float | int | None]).decode


def encode_prediction(prediction: Prediction) -> bytes:
    """Encode a prediction as the message's value."""
    return _encode(prediction)


def decode_prediction(value: bytes | None, schema: Schema = SHOP) -> Prediction | None:
    """Decode a message's value; None where it is not a prediction in every field that is kept."""
    if value is None or len(value) > MAX_PREDICTION_BYTES:
        return None
    try:
        prediction = _decoder(schema).decode(value)
        _decode_features(prediction.features)
        is_dated = min(prediction.timestamp, prediction.as_of) >= _EPOCH
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return None
    return prediction if is_dated else None
