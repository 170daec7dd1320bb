"""The calibration of a model, from an estimator's score to a probability, as stored in its metadata."""

import msgspec

__all__ = ["Calibration"]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Calibration parameters: log-odds of yes = slope * score + intercept, with the estimator's own score."""

    slope: float
    intercept: float
    method: str = "sigmoid"
