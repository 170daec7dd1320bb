"""The event log as a table of Apache Iceberg: in which catalog, and under what name."""

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
    """A table, and the catalog of PyIceberg's own configuration that it is in; without one, the home's."""

    table: str = "encore.events"
    catalog: str = ""


def kept_table(settings: Settings) -> TableName | None:
    """Return the table that the log is kept as; None where it is not. Raises DataError where nobody can say."""
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
    """Have the log kept as a table from now on: the monitor looks to it every ten minutes."""
    content = msgspec.json.encode(name)
    (log_storage(settings) / COPIES).put(_KEPT, lambda path: write_whole(path, content))


def leave_table(settings: Settings) -> None:
    """Have the log not kept as a table any more; the table stays in its catalog as it is."""
    (log_storage(settings) / COPIES).delete(_KEPT)


def open_table(settings: Settings, name: TableName) -> "LogTable":
    """Return the table of the home's log. Raises ConfigurationError where there is no such catalog, or no PyIceberg."""
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
    """Return how PyIceberg reaches what ENCORE_STORAGE says; credentials are in the environment."""
    said = dict(parse_qsl(urlsplit(address).query))
    found = {}
    if "endpoint_override" in said:
        found["s3.endpoint"] = f"{said.get('scheme', 'https')}://{said['endpoint_override']}"
    if "region" in said:
        found["s3.region"] = said["region"]
    return found
