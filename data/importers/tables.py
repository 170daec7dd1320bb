"""A table of Parquet files to import: a folder of them, a table of Delta Lake, or one of Apache Iceberg.

    events/                               a folder of Parquet files; folders in it such as day=2026-01-02 are a column
    lake/events/                          with _delta_log: as of its last version; with metadata: of its newest snapshot
    iceberg://CATALOG/NAMESPACE.TABLE     of a catalog in PyIceberg's configuration

Rows are read in place, and never copied on the way.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from data.errors import DataError, MissingExtraError
from data.lake.catalog import open_catalog
from data.printable import one_line

__all__ = ["Rows", "is_table", "open_table"]

_SCHEME = "iceberg://"
_METADATA = re.compile(r"v?(\d+)(-[0-9a-f-]+)?(\.gz)?\.metadata\.json")


class Rows(Protocol):
    """What DuckDB reads, once or several times."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a stream of all rows, as Arrow's C interface has it."""


class _Scanned:
    """Rows of a table of Iceberg: each stream is a scan of its own."""

    def __init__(self, scan: Callable[[], Any]) -> None:
        self._scan = scan

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._scan().to_arrow_batch_reader().__arrow_c_stream__(requested_schema)


def is_table(name: str) -> bool:
    """Return whether a name is that of a table: a folder, or a table's address."""
    return name.startswith(_SCHEME) or ("://" not in name and Path(name).is_dir())


def open_table(name: str) -> Rows:
    """Return the rows of a table that `is_table`. Raises DataError where it is none, or cannot be read."""
    folder = Path(name)
    if name.startswith(_SCHEME):
        return _of_catalog(name)
    if (folder / "_delta_log").is_dir():
        return _of_delta(folder)
    if metadata := _newest_metadata(folder):
        return _of_iceberg(name, metadata)
    return _of_folder(folder)


def _newest_metadata(folder: Path) -> Path | None:
    versions = [
        (int(match[1]), path) for path in folder.glob("metadata/*") if (match := _METADATA.fullmatch(path.name))
    ]
    return max(versions)[1] if versions else None


def _of_folder(folder: Path) -> Rows:
    from pyarrow import dataset  # noqa: PLC0415 - few imports are of tables

    files = sorted(str(path) for path in folder.rglob("*.parquet") if not path.name.startswith((".", "_")))
    if not files:
        raise DataError(f"{folder}: a folder without Parquet files; name its files, such as '{folder / '*.csv'}'")
    rows: Rows = dataset.dataset(files, format="parquet", partitioning=dataset.partitioning(flavor="hive"))
    return rows


def _of_delta(folder: Path) -> Rows:
    try:
        from deltalake import DeltaTable  # noqa: PLC0415 - an extra
        from deltalake.exceptions import DeltaError  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(f"{folder}: a table of Delta Lake ({error})", "lake") from error
    try:
        rows: Rows = DeltaTable(str(folder)).to_pyarrow_dataset()
    except DeltaError as error:
        raise DataError(f"{folder}: this table of Delta Lake cannot be read ({one_line(error)})") from error
    return rows


def _of_iceberg(name: str, metadata: Path) -> Rows:
    try:
        from pyiceberg.exceptions import ValidationError  # noqa: PLC0415 - an extra
        from pyiceberg.table import StaticTable  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(f"{name}: a table of Apache Iceberg ({error})", "lake") from error
    try:
        return _Scanned(StaticTable.from_metadata(str(metadata)).scan)
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(f"{name}: this table of Apache Iceberg cannot be read ({one_line(error)})") from error


def _of_catalog(name: str) -> Rows:
    parts = urlsplit(name)
    table = parts.path.strip("/")
    try:
        catalog = open_catalog(parts.netloc)
    except LookupError as error:
        raise DataError(f"{name}: the catalog {parts.netloc} {error}") from error
    from pyiceberg.exceptions import NoSuchTableError, RESTError  # noqa: PLC0415 - an extra

    try:
        return _Scanned(catalog.load_table(table).scan)
    except NoSuchTableError as error:
        raise DataError(f"{name}: the catalog {parts.netloc} has no table {table}") from error
    except (OSError, ValueError, RESTError) as error:
        raise DataError(f"{name}: this table of Apache Iceberg cannot be read ({one_line(error)})") from error
