"""Ids as they are in a table: texts, numbers that stand for texts, and missing ones."""

import math
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
from feast.protos.feast.types.Value_pb2 import RepeatedValue
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from data.errors import DataError

__all__ = ["id_texts", "rows_of_texts"]

_EXACT = 2**53
"""From here on not every whole number is a float: two ids could be one."""


def id_texts(column: "pd.Series") -> list[str | None]:
    """Return a column's ids as the log has them; None where one is missing (None, NaN, NaT, NA or an empty text).

    A whole number is its digits, as a float too: pandas makes floats of integers beside a missing one, so 5.0 is "5".
    Raises DataError, with the row, for what is no id.
    """
    return [_text(value, "entity_df", column.name, row) for row, value in enumerate(column.tolist())]


def rows_of_texts(rows: Any, columns: Collection[str]) -> Any:
    """Return rows of entities, as Feast takes them (dicts, or a mapping of lists), with `columns` by the same rule.

    Values of which Feast has made messages already are left as they are.
    """
    if isinstance(rows, Mapping):
        return {
            name: values
            if isinstance(values, RepeatedValue) or name not in columns
            else [_online(value, name, row) for row, value in enumerate(values)]
            for name, values in rows.items()
        }
    return [
        {name: _online(value, name, row) if name in columns else value for name, value in entity_row.items()}
        for row, entity_row in enumerate(rows)
    ]


def _online(value: Any, column: str, row: int) -> Any:
    """Return an id as Feast takes it: an empty text where it is missing, since Feast sorts them."""
    return value if isinstance(value, ValueProto) else _text(value, "entity_rows", column, row) or ""


def _text(value: Any, where: str, column: Any, row: int) -> str | None:
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
        f"{where}: {value!r:.80} of type {type(value).__name__} in column {column}, row {row}, is no id; give texts, "
        "or whole numbers"
    )
