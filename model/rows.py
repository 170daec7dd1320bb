"""Conversion of feature rows to a model's input."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["float32_rows"]


def float32_rows(values: ArrayLike | Sequence[Sequence[float | None]]) -> NDArray[np.float32]:
    """Round numbers to float32; None becomes NaN (missing), and values too large for 32 bits become infinite."""
    if isinstance(values, np.ndarray) and values.dtype == np.float32:
        return np.ascontiguousarray(values)  # avoids `errstate`, which costs a microsecond per scored row
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)
