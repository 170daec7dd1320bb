"""Ids as they stand in a table: texts, numbers that stand for texts, and what is missing."""

import math
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from data.errors import DataError

__all__ = ["id_texts"]

_EXACT = 2**53
"""From here on not every whole number is a float: two ids could be one."""


def id_texts(column: "pd.Series") -> list[str | None]:
    """A column's ids as the log has them; None where one is missing (None, NaN, NaT, NA or an empty text).

    A whole number is its digits, as a float too: pandas makes floats of integers beside a missing one, so 5.0 is "5".
    Raises DataError, with the row, for what is no id.
    """
    return [_text(value, column.name, row) for row, value in enumerate(column.tolist())]


def _text(value: Any, column: Any, row: int) -> str | None:
    match value.item() if isinstance(value, np.generic) else value:
        case str(text):
            return text or None
        case bool():
            pass
        case int(number):
            return str(number)
        case float(number) if math.isnan(number):
            return None
        case float(number) if number.is_integer() and abs(number) < _EXACT:
            return str(int(number))
        case UUID():
            return str(value)
        case _ if value is None or value is pd.NaT or value is pd.NA:
            return None
    raise DataError(
        f"entity_df: {value!r:.80} of type {type(value).__name__} in column {column}, row {row}, is no id; give texts, "
        "or whole numbers"
    )
