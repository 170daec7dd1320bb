"""The curve from an estimator's score to a probability, as a model's metadata keeps it."""

import msgspec

__all__ = ["Calibration"]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """log-odds of yes = slope * score + intercept, the score being the estimator's own."""

    slope: float
    intercept: float
    method: str = "sigmoid"
