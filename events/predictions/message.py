"""A prediction as a message of the topic `predictions`, from which a model is judged when the outcome is known.

The key is the user's id; the value is JSON, with `features` by name (null: undefined).
"""

from datetime import datetime
from typing import Literal

import msgspec

__all__ = [
    "LIVE",
    "PREDICTIONS_TOPIC",
    "Origin",
    "Prediction",
    "Role",
    "Shadow",
    "decode_prediction",
    "encode_prediction",
]

PREDICTIONS_TOPIC = "predictions"

Role = Literal["champion", "challenger"]

Origin = Literal["live", "console", "probe"]
"""Who asked: the shop itself, the console, or a probe that only looks whether there is an answer."""

LIVE: Origin = "live"
"""The only questions by which a model is judged, and drift is found."""


class Shadow(msgspec.Struct, frozen=True):
    """The challenger's score of the same question, in the shadow: computed and not answered."""

    model: str
    score: float
    threshold: float


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `timestamp` is when it was given, `as_of` the time that it is about, at which its features are true.

    `model` is the version that answered, in the role `role`; a score at or above `threshold` is a yes. `features` stay
    undecoded JSON, since few readers need them. Messages older than `origin` are live.
    """

    id: str
    timestamp: datetime
    as_of: datetime
    target: str
    user_id: str
    product_id: str
    model: str
    role: Role
    score: float
    threshold: float
    prediction: bool
    cold_start: bool
    shadow: Shadow | None
    features: msgspec.Raw
    origin: Origin = LIVE


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Prediction).decode


def encode_prediction(prediction: Prediction) -> bytes:
    """Encode a prediction as the message's value."""
    return _encode(prediction)


def decode_prediction(value: bytes | None) -> Prediction | None:
    """Decode a message's value; None where it is not a prediction."""
    try:
        return None if value is None else _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
