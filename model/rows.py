"""Rows as a model takes them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["float32_rows"]


def float32_rows(values: ArrayLike | Sequence[Sequence[float | None]]) -> NDArray[np.float32]:
    """The same numbers rounded to float32, None being NaN (missing); what is too large for 32 bits is infinite."""
    if isinstance(values, np.ndarray) and values.dtype == np.float32:
        return np.ascontiguousarray(values)  # where one row is scored, `errstate` would be a microsecond of it
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)
