"""A prediction as a message of the topic `predictions`, from which a model is judged when the outcome is known.

The key is the user's id; the value is JSON, with `features` by name (null: undefined).
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

__all__ = [
    "LIVE",
    "MAX_PREDICTION_BYTES",
    "PREDICTIONS_TOPIC",
    "Origin",
    "Prediction",
    "Role",
    "Shadow",
    "decode_prediction",
    "encode_prediction",
]

PREDICTIONS_TOPIC = "predictions"

MAX_PREDICTION_BYTES = 1024 * 1024
"""A larger message is no prediction, and is not read: one is about 3 kB."""

Role = Literal["champion", "challenger"]

Origin = Literal["live", "console", "probe"]
"""Who asked: the shop itself, the console, or a probe that only looks whether there is an answer."""

LIVE: Origin = "live"
"""The only questions by which a model is judged, and drift is found."""


_Text = Annotated[str, msgspec.Meta(max_length=256)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Shadow(msgspec.Struct, frozen=True):
    """The challenger's score of the same question, in the shadow: computed and not answered."""

    model: _Text
    score: float
    threshold: float


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `timestamp` is when it was given, `as_of` the time that it is about, at which its features are true.

    `model` is the version that answered, in the role `role`; a score at or above `threshold` is a yes. `features` stay
    undecoded JSON, since few readers need them. Messages older than `origin` are live.
    """

    id: _Text
    timestamp: _Time
    as_of: _Time
    target: _Text
    user_id: _Text
    product_id: _Text
    model: _Text
    role: Role
    score: float
    threshold: float
    prediction: bool
    cold_start: bool
    shadow: Shadow | None
    features: msgspec.Raw
    origin: Origin = LIVE


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Prediction).decode
_decode_features = msgspec.json.Decoder(dict[str, float | int | None]).decode


def encode_prediction(prediction: Prediction) -> bytes:
    """Encode a prediction as the message's value."""
    return _encode(prediction)


def decode_prediction(value: bytes | None) -> Prediction | None:
    """Decode a message's value; None where it is not a prediction in every field that is kept."""
    if value is None or len(value) > MAX_PREDICTION_BYTES:
        return None
    try:
        found = _decode(value)
        _decode_features(found.features)
        is_dated = min(found.timestamp, found.as_of) >= _EPOCH
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return None
    return found if is_dated else None
