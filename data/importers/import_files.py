"""Convert files of any shape to events in time order, as a mapping says.

DuckDB does the work, so rows never become Python objects; what exceeds its memory is spilled to the system's temporary
folder. A mapping's expressions are its author's responsibility; values and names of files are never SQL, and no
expression reads a file. The first event is yielded only after all files were read and checked.
"""

import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa

from data.default_shop import SHOP
from data.errors import DataError
from data.importers.columns import columns_of
from data.importers.convert import identifier
from data.importers.events import Events
from data.importers.mapping import Mapping
from data.importers.report import ImportReport
from data.importers.rows import Rows
from data.importers.source_file import error_line, expand_names
from data.importers.steps import Steps
from data.log.event_table import columns_of as log_columns
from data.schema import Schema

__all__ = ["MOST_LABELS", "import_files"]

MOST_LABELS = 100_000
"""Most values of a label of an entity: a category, not a name. Keys have no such bound."""


def import_files(
    mapping: Mapping,
    names: Iterable[str | Path],
    *,
    now_us: int,
    skip_faults: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    logged: tuple[str, Iterable[pa.Table]] | None = None,
    schema: Schema = SHOP,
) -> tuple[Iterator[pa.Table], ImportReport]:
    """Return the events of files, and a report of what became of their rows.

    `names` are paths, globs and URIs of object storage. The events come as tables of the schema's columns in time
    order. `logged` is the name of their source in the log, and the log's events, so that none is imported twice.

    Raises ConfigurationError for a mapping that is wrong or does not suit the files, DataError in one line for files
    that cannot be read, FaultyRowsError for rows that make no event, unless `skip_faults`.
    """
    columns = columns_of(schema)
    mapping.check(columns)
    spill = Path(tempfile.gettempdir()) / f"encore-import-{uuid.uuid4().hex}"
    connection = duckdb.connect(config={"temp_directory": str(spill)})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        with Steps(connection, progress) as begin:
            rows = Rows(connection, mapping)
            with tempfile.TemporaryDirectory(prefix="encore-import-") as scratch:
                rows.read(expand_names([str(name) for name in names]), Path(scratch), begin)
            connection.execute("SET enable_external_access = false")
            report = Events(connection, mapping, rows, columns).make(now_us, begin, skip_faults=skip_faults)
            _refuse_many_labels(connection, schema)
            if logged is not None:
                begin("comparing them with the event log")
                _refuse_logged(connection, schema, *logged)
    except duckdb.Error as error:  # out of memory, or of space to spill to
        connection.close()
        raise DataError(f"{mapping.name}: cannot be imported: {error_line(error)}") from error
    except BaseException:
        connection.close()
        raise
    return _in_time_order(connection, log_columns(schema).event), report


def _refuse_many_labels(connection: duckdb.DuckDBPyConnection, schema: Schema) -> None:
    """Raise DataError where a label of an entity has too many values: there would be a state for each."""
    for label in schema.labels:
        entity = next((candidate for candidate in schema.entities if label in candidate.join_keys), None)
        if entity is None:
            continue
        [[values]] = connection.execute(f"SELECT count(DISTINCT {identifier(label)}) FROM events").fetchall()
        if values > MOST_LABELS:
            raise DataError(
                f"label {label} has {values:,} values, and the entity {entity.name} a state for each; at most "
                f"{MOST_LABELS:,} are allowed: declare it among the keys, if it names things, or take its entities out "
                "of the schema"
            )


def _refuse_logged(
    connection: duckdb.DuckDBPyConnection, schema: Schema, source: str, logged: Iterable[pa.Table]
) -> None:
    """Raise DataError where another source of the log has one of these events, or `source` has one that is not here."""
    columns = pa.schema([log_columns(schema).log.field(name) for name in ("event_id", "source")])
    batches = (batch for table in logged for batch in table.select(columns.names).cast(columns).to_batches())
    connection.register("logged", pa.RecordBatchReader.from_batches(columns, batches))
    connection.execute("CREATE TABLE known AS SELECT * FROM logged")
    twice = connection.execute(
        "SELECT source, count(*) FROM known SEMI JOIN events USING (event_id) WHERE source <> ? "
        "GROUP BY source ORDER BY source",
        [source],
    ).fetchone()
    if twice is not None:
        raise DataError(
            f"source {twice[0]} of the event log has {twice[1]:,} of these events already, by their event_id; nothing "
            f"was imported: to replace that source, import under its name with --source {twice[0]}"
        )
    lost = connection.execute(
        "SELECT count(*) FROM known ANTI JOIN events USING (event_id) WHERE source = ?", [source]
    ).fetchone()
    if lost is not None and lost[0]:
        raise DataError(
            f"source {source} of the event log has {lost[0]:,} events that these files do not have, and would lose "
            "them; nothing was imported: give these files a name of their own with --source, or import all together"
        )


def _in_time_order(connection: duckdb.DuckDBPyConnection, columns: pa.Schema) -> Iterator[pa.Table]:
    with closing(connection):
        ordered = connection.sql(
            "SELECT * EXCLUDE (_row, timestamp_us), timestamp_us AS timestamp FROM events ORDER BY timestamp_us, _row"
        )
        for batch in pa.RecordBatchReader.from_stream(ordered):
            yield pa.Table.from_batches([batch]).select(columns.names).cast(columns)
