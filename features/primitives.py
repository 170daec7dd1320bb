"""Featuretools primitives with Encore's results for empty input: a count is 0, a rate is null.

Featuretools' own NumUnique returns null over no rows, and DivideNumeric returns infinity for a division by zero.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from featuretools import primitives

__all__ = ["NumUnique", "Rate"]


class NumUnique(primitives.NumUnique):  # type: ignore[misc]
    """Number of distinct values; 0 over no rows."""

    default_value = 0


class Rate(primitives.DivideNumeric):  # type: ignore[misc]
    """Quotient of two columns; null where the denominator is 0 or null."""

    name = "rate"

    def get_function(self) -> Callable[..., Any]:
        """Return the function of numerator and denominator, columns of shape (n,)."""

        def rate(upper: Any, lower: Any) -> Any:
            below = np.asarray(lower, dtype="float64")
            return np.asarray(upper, dtype="float64") / np.where(below == 0, np.nan, below)

        return rate
