"""Featuretools primitives whose answer over nothing is what Encore means: no invented number.

Featuretools' own NumUnique says null where nothing happened and DivideNumeric says infinity where it divides by zero;
a count that never happened is 0 and a rate with nothing under it is null (DESIGN §3).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from featuretools import primitives

__all__ = ["NumUnique", "Rate"]


class NumUnique(primitives.NumUnique):  # type: ignore[misc]
    """The number of distinct values; 0 over nothing."""

    default_value = 0


class Rate(primitives.DivideNumeric):  # type: ignore[misc]
    """One number over another; null where the lower one is 0 or null."""

    name = "rate"

    def get_function(self) -> Callable[..., Any]:
        """The function over two columns."""

        def rate(upper: Any, lower: Any) -> Any:
            below = np.asarray(lower, dtype="float64")
            return np.asarray(upper, dtype="float64") / np.where(below == 0, np.nan, below)

        return rate
