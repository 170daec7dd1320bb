"""The event log as an Apache Iceberg table: its catalog and its name."""

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import msgspec

from data.atomic import write_whole
from data.errors import ConfigurationError, DataError, MissingExtraError
from data.filesystem.folder import Folder
from data.lake.catalog import open_catalog
from data.log.event_log import COPIES
from data.printable import one_line
from server.event_log import open_log
from server.settings import Settings
from server.storage import log_storage

if TYPE_CHECKING:
    from data.lake.log_table import LogTable

__all__ = ["TableName", "keep_table", "kept_table", "leave_table", "open_table"]

_KEPT = "table.json"


class TableName(msgspec.Struct, frozen=True):
    """A table's name, and its catalog in PyIceberg's configuration; empty: the home's own catalog."""

    table: str = "encore.events"
    catalog: str = ""


def kept_table(settings: Settings) -> TableName | None:
    """Return the table that mirrors the log; None if there is none. Raises DataError if its record is damaged."""
    storage = log_storage(settings) / COPIES
    if storage.mark(_KEPT) is None:
        return None
    path = storage.local(_KEPT)
    try:
        return msgspec.json.decode(path.read_bytes(), type=TableName)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: this does not say which table the log is ({error}); delete it, and run `encore log iceberg` again"
        ) from error


def keep_table(settings: Settings, name: TableName) -> None:
    """Mirror the log to a table from now on; the monitor updates it every ten minutes."""
    content = msgspec.json.encode(name)
    (log_storage(settings) / COPIES).put(_KEPT, lambda path: write_whole(path, content))


def leave_table(settings: Settings) -> None:
    """Stop mirroring the log to a table; the table stays in its catalog as it is."""
    (log_storage(settings) / COPIES).delete(_KEPT)


def open_table(settings: Settings, name: TableName) -> "LogTable":
    """Return the table of the home's log. Raises ConfigurationError if the catalog or PyIceberg is missing."""
    try:
        import sqlalchemy  # noqa: PLC0415 - the monitor asks only whether there is a table
        from pyiceberg.catalog.sql import SqlCatalog  # noqa: PLC0415 - an extra

        from data.lake.log_table import LogTable, address_of  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(f"tables of Iceberg need PyIceberg ({error})", "lake") from error
    log = open_log(settings)
    if name.catalog:
        try:
            return LogTable(log, open_catalog(name.catalog), name.table)
        except LookupError as error:
            raise ConfigurationError(f"the catalog {name.catalog!r} {error}") from error
    settings.iceberg.mkdir(exist_ok=True)
    database = sqlalchemy.URL.create("sqlite", database=str(settings.iceberg / "catalog.db"))
    warehouse = log.storage / f"{COPIES}-warehouse" if log.storage.is_remote else Folder(settings.iceberg)
    try:
        catalog = SqlCatalog(
            "encore",
            uri=database.render_as_string(),
            warehouse=address_of(warehouse),
            **_access(settings.storage),
        )
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise DataError(
            f"{database.database}: the catalog of the log's table cannot be read ({one_line(error)}); "
            f"remove {settings.iceberg}, and run `encore log iceberg` again"
        ) from error
    return LogTable(log, catalog, name.table)


def _access(address: str) -> dict[str, str]:
    """Return PyIceberg's properties for ENCORE_STORAGE; credentials come from the environment."""
    query = dict(parse_qsl(urlsplit(address).query))
    properties = {}
    if "endpoint_override" in query:
        properties["s3.endpoint"] = f"{query.get('scheme', 'https')}://{query['endpoint_override']}"
    if "region" in query:
        properties["s3.region"] = query["region"]
    return properties
