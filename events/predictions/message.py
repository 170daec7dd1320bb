"""What a prediction was: the message on the topic `predictions`, from which a model is judged when the answer is known.

The key is the user's id; the value is this as JSON, `features` by name (null: nothing to say).
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
    """What the challenger would have said: scored beside the answer, and not answered."""

    model: str
    score: float
    threshold: float


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `timestamp` is when it was given, `as_of` the time that it is about, at which its features are true.

    `model` is the version that answered, as `role`; a score at or above `threshold` is a yes. `features` are kept as
    the JSON they came as: few readers need them. Messages of before there were origins are `live`.
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
    """The message's bytes."""
    return _encode(prediction)


def decode_prediction(value: bytes | None) -> Prediction | None:
    """The prediction in a message; None where it is none."""
    try:
        return None if value is None else _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
