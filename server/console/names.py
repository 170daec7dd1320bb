"""Display names of ids, if the shop has them.

A project keeps them beside its schema, in `names/user_id.csv` for the key `user_id`: two columns, id and name, under a
header. The products of the package's own synthetic shop have names of its own.
"""

import csv
from pathlib import Path

import streamlit as st

from data.errors import DataError
from server.console.resources import settings
from server.jobs.build import kept_shop

__all__ = ["name_of", "named", "names_of", "read_names"]

_MOST = 1_000_000
_LONGEST = 120


def names_of(column: str) -> dict[str, str]:
    """Return the display names of a key's ids, by id."""
    return _names(column)


def name_of(column: str, value: str) -> str:
    """Return the display name of an id; empty if it has none."""
    return names_of(column).get(value, "")


def named(column: str, value: str) -> str:
    """Return an id with its name before it, where it has one."""
    name = name_of(column, value)
    return f"{name} · {value}" if name else value


@st.cache_resource(show_spinner="looking up names …")
def _names(column: str) -> dict[str, str]:
    folder = settings().declared.folder
    if folder is not None:
        return read_names(folder / "names" / f"{column}.csv")
    shop = kept_shop(settings()) if column == "product_id" else None
    if shop is None:
        return {}
    from data.shop.shop import Shop  # noqa: PLC0415 - it imports Faker

    catalogue = Shop(shop).catalogue
    return dict(zip(catalogue.ids, catalogue.names, strict=True))


def read_names(path: Path) -> dict[str, str]:
    """Return the names in a file, by id; none if there is no file. Raises DataError if it is malformed."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            next(rows, None)
            return {row[0]: row[1][:_LONGEST] for row, _ in zip(rows, range(_MOST), strict=False) if len(row) > 1}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a file of names ({error}); give it two columns, id and name, as CSV") from error
