"""The calibration of a model, from an estimator's score to a probability, as its metadata stores it."""

import msgspec

__all__ = ["Calibration"]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """log-odds of yes = slope * score + intercept, of the estimator's own score."""

    slope: float
    intercept: float
    method: str = "sigmoid"
