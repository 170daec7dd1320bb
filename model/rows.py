"""Feature rows as a model's input."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["float32_rows"]


def float32_rows(values: ArrayLike | Sequence[Sequence[float | None]]) -> NDArray[np.float32]:
    """Round numbers to float32; None becomes NaN (missing), and what is too large for 32 bits infinite."""
    if isinstance(values, np.ndarray) and values.dtype == np.float32:
        return np.ascontiguousarray(values)  # without `errstate`, which costs a microsecond per row scored
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)
