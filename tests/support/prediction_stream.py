"""Predictions, numbered, and their messages."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from data.default_shop import SHOP
from events.predictions.message import Prediction, Shadow, encode_prediction, prediction_class
from events.predictions.sink import Message

__all__ = ["NOON", "messages", "prediction"]


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def prediction(number: int, target: str = "repeat_purchase") -> Prediction:
    return prediction_class(SHOP)(
        id=f"p-{number}",
        timestamp=NOON,
        as_of=NOON + timedelta(minutes=number),
        target=target,
        user_id=f"user-{number % 7}",
        product_id="coffee",
        model="20261121-030405-ab12cd",
        role="champion",
        score=0.25,
        threshold=0.5,
        prediction=False,
        cold_start=True,
        shadow=Shadow("20261121-030406-ab12ce", 0.75, 0.5) if number % 2 else None,
        features=msgspec.Raw(b'{"user_view_count":3,"user_avg":null}'),
    )


def messages(numbers: Sequence[int]) -> Iterable[Message]:
    for number in numbers:
        yield f"user-{number % 7}".encode(), encode_prediction(prediction(number))
