"""The engines that compute batch features: their protocol, and DuckDB, which spills to disk past a memory limit."""

import glob
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from data.errors import DataError
from data.log.event_log import EventLog, LogFile
from data.log.event_table import columns_of
from data.log.sources import newest_topic
from features.batch.backfill import Backfilled, state_rows
from features.batch.queries import FACTS, LOG, SPINE, states_sql, values_sql
from features.plan.plan import EntityPlan, Plan

if TYPE_CHECKING:  # it is slow to import, and not needed to rebuild states
    import pandas as pd

__all__ = [
    "MEMORY",
    "DuckDBEngine",
    "Engine",
    "check_log",
    "key_list",
    "no_nulls",
    "spine_table",
    "sql_list",
    "sql_texts",
]


MEMORY = "4GB"
"""DuckDB's memory by default."""

_UNITS = {unit: 1024**power for power, unit in enumerate(("bytes", "KiB", "MiB", "GiB", "TiB"))}

_ROWS = 10_000
"""States read at a time."""

_BYTES_PER_EVENT = 4096
"""Upper bound of memory per event read when states are made, in bytes; pairs of few events take most, about 1,400."""


class Engine(Protocol):
    """Computes features over one event log: DuckDB, or Spark past one machine (`features.batch.spark.engine`).

    A context manager that releases its resources on exit.
    """

    log: EventLog

    def events(self) -> ir.Table:
        """Return the log, every offset once: its columns, `time_us` and `arrived_us`, with measures in integer units.

        An event whose time of arrival is unknown arrived at its own time.
        """

    def values(self, plan: Plan, entity: str, spine: "pd.DataFrame", names: Iterable[str]) -> pa.Table:
        """Compute the named features of `entity` at every row of `spine`, in its order: int64, or float64 with nulls.

        `spine` has the entity's join keys (strings) and `time_us` (int64).
        """

    def query(self, sql: str, **tables: pa.Table) -> pa.Table:
        """Run SQL over `facts` and `log` (`features.batch.queries`) and the tables given; return rows in any order.

        It is in DuckDB's dialect, of what all engines have. Raises DataError where the log cannot be read.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class DuckDBEngine:
    """DuckDB over one event log. A context manager that deletes spilled files on exit."""

    def __init__(self, log: EventLog, *, memory: str = MEMORY, threads: int | None = None) -> None:
        self.log = log
        self._spill = tempfile.TemporaryDirectory(prefix="encore-spill-")
        options: dict[str, Any] = {"memory_limit": memory, "temp_directory": self._spill.name}
        if threads is not None:
            options["threads"] = threads
        self.connection: Any = ibis.duckdb.connect(**options)
        self.connection.raw_sql("SET preserve_insertion_order = false; SET TimeZone = 'UTC'")

    def __enter__(self) -> "DuckDBEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and delete spilled files."""
        self.connection.disconnect()
        self._spill.cleanup()

    def events(self) -> ir.Table:
        """Return the log, every offset once: its columns, `time_us` and `arrived_us` (int64), with measures in units.

        Measures are decimals without a fraction.
        """
        with self._reading():
            return self.connection.sql(self._facts(self.scan()))

    def _facts(self, source: str, where: str = "TRUE") -> str:
        exact = [
            "CAST("
            f"{_quoted(column.name) if column.is_whole else f'round_even({_quoted(column.name)} * {column.unit}, 0)'} "
            f"AS DECIMAL(38, 0)) AS {_quoted(column.name)}"
            for column in self.log.schema.measures
        ]
        replaced = f"REPLACE ({', '.join(exact)})" if exact else ""
        times = "epoch_us(timestamp) AS time_us, epoch_us(coalesce(arrived, timestamp)) AS arrived_us"
        return f"SELECT * {replaced}, {times} FROM {source} WHERE {where}"  # noqa: S608 - ours

    def _view(self, where: str = "TRUE") -> None:
        """Make the events that meet a condition the table that queries read."""
        with self._reading():
            self._name(FACTS, self._facts(self.scan(), where))

    def _name(self, view: str, query: str) -> None:
        self.connection.raw_sql(f"CREATE OR REPLACE TEMP VIEW {view} AS {query}")

    def scan(self) -> str:
        """Return SQL that reads the log's files, every offset once, with the columns that the schema declares now.

        An empty label is none. Raises DataError where the log is empty or unreadable.
        """
        files = check_log(self.log)
        columns = columns_of(self.log.schema)
        # Without rows, but with every column: files have those that were declared when they were written.
        typed = [f"NULL::{_SQL_TYPES[field.type]} AS {_quoted(field.name)}" for field in columns.log]
        scans = [
            f"SELECT {', '.join(typed)} WHERE false",
            f"FROM read_parquet({sql_list([file.path for file in files if file.is_whole])}, union_by_name = true)",
        ]
        scans += [
            f'FROM read_parquet({sql_list([file.path])}) WHERE "offset" >= {file.start}'
            for file in files
            if not file.is_whole
        ]
        wanted = []
        for name in columns.log.names:
            default = columns.missing.get(name)
            wanted.append(
                f"nullif({_quoted(name)}, '') AS {_quoted(name)}"
                if name in self.log.schema.labels
                else _quoted(name)
                if default is None
                else f"coalesce({_quoted(name)}, {default}) AS {_quoted(name)}"
            )
        return f"(SELECT {', '.join(wanted)} FROM ({' UNION ALL BY NAME '.join(scans)}))"  # noqa: S608 - ours

    def values(self, plan: Plan, entity: str, spine: "pd.DataFrame", names: Iterable[str]) -> pa.Table:
        """Compute the named features of `entity` at every row of `spine`, in its order.

        `spine` has the entity's join keys (strings) and `time_us` (int64). The events of its entities are picked out
        first: even where that is most of them, it costs nothing.
        """
        entity_plan = plan.of(entity)
        query, types = values_sql(entity_plan, frozenset(names))
        self.connection.con.register(SPINE, spine_table(spine, entity_plan))
        self._view(_among(entity_plan, SPINE))
        with self._reading():
            table: pa.Table = self.connection.con.sql(query).to_arrow_table()
        return table.cast(types).drop_columns("row")

    def query(self, sql: str, **tables: pa.Table) -> pa.Table:
        """Run SQL over `facts` and `log` (`features.batch.queries`) and the tables given; return rows in any order.

        Raises DataError where the log cannot be read.
        """
        for name, table in tables.items():
            self.connection.con.register(name, table)
        with self._reading():
            self._name(LOG, f"FROM {self.scan()}")
            self._name(FACTS, self._facts(LOG))
            try:
                answer: pa.Table = self.connection.con.sql(sql).to_arrow_table()
            except duckdb.OutOfMemoryException as error:
                raise DataError(f"event log {self.log}: a query needs more memory than it may take: {error}") from error
        return answer

    def entities(self) -> dict[str, int]:
        """Return how many entities of each kind the log has."""
        entities = self.log.schema.entities
        counts = ", ".join(
            f"count(DISTINCT ({key_list(entity.join_keys)})) FILTER ({no_nulls(entity.join_keys)})"
            for entity in entities
        )
        with self._reading():
            [row] = self.connection.raw_sql(f"SELECT {counts} FROM {self.scan()}").fetchall()  # noqa: S608 - ours
        return dict(zip((entity.name for entity in entities), row, strict=True))

    def states(self, entity_plan: EntityPlan) -> Iterator[Backfilled]:
        """Yield the state of every entity of a kind, folded from the whole log, in shares that fit into memory."""
        shares = self._shares()
        for share in range(shares):
            # DuckDB cannot spill the lists in which tiles are collected, so an entity's events are in one share.
            self._view(f"hash({key_list(entity_plan.join_keys)}) % {shares} = {share}")
            yield from self._states(entity_plan)

    def states_of(self, entity_plan: EntityPlan, ids: Sequence[tuple[str, ...]]) -> Iterator[Backfilled]:
        """Yield the states of some entities of a kind, by their join keys, from the whole log; none of unknown ones."""
        wanted = {
            key: pa.array([entity_ids[place] for entity_ids in ids], pa.string())
            for place, key in enumerate(entity_plan.join_keys)
        }
        self.connection.con.register("wanted", pa.table(wanted))
        self._view(_among(entity_plan, "wanted"))
        yield from self._states(entity_plan)

    def _states(self, entity_plan: EntityPlan) -> Iterator[Backfilled]:
        topic = newest_topic(self.log.sources())
        with self._reading():
            result = self.connection.raw_sql(states_sql(entity_plan, topic))
            yield from state_rows(result.to_arrow_reader(_ROWS), entity_plan, topic)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raise DataError for a file that is gone since it was listed, or that DuckDB cannot read."""
        try:
            yield
        except duckdb.IOException as error:
            raise DataError(
                f"event log: {self.log}: a file could not be read ({error}); if it was compacted or moved away "
                "meanwhile, run again; else see `encore log check --pages`"
            ) from error

    def _shares(self) -> int:
        """Return into how many shares to split the log's entities, so that the states of one share fit into memory."""
        [[limit]] = self.connection.raw_sql("SELECT current_setting('memory_limit')").fetchall()
        number, unit = limit.split()
        memory: float = float(number) * _UNITS[unit]
        events = sum(file.segment.stop - file.start for file in self.log.files())
        return max(1, math.ceil(events * _BYTES_PER_EVENT / memory))


def check_log(log: EventLog) -> list[LogFile]:
    """Return the log's files, every page verified: DuckDB does not compare the checksums of pages.

    Raises DataError where there are none, or one is missing or cannot be read.
    """
    files = log.check(pages=True)
    if not files:
        raise DataError(f"event log: nothing in {log}; make history with `encore generate` or `encore import`")
    return files


def key_list(keys: Iterable[str]) -> str:
    """Return columns as SQL lists them."""
    return ", ".join(map(_quoted, keys))


def no_nulls(keys: Iterable[str]) -> str:
    """Return the SQL condition that a row has all of these columns."""
    return " AND ".join(f"{_quoted(key)} IS NOT NULL" for key in keys)


def _among(plan: EntityPlan, table: str) -> str:
    """Return the SQL condition that an event is of one of the entities in a table."""
    keys = key_list(plan.join_keys)
    return f"({keys}) IN (SELECT ({keys}) FROM {table})"  # noqa: S608 - ours


def _quoted(name: str) -> str:
    return f'"{name}"'


_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}


def spine_table(spine: "pd.DataFrame", plan: EntityPlan) -> pa.Table:
    """Return a spine as `entity_values` takes it: the entity's join keys, `time_us`, and `row`, counted from 0."""
    return pa.table(
        {
            **{key: pa.array(spine[key], pa.string()) for key in plan.join_keys},
            "time_us": pa.array(spine["time_us"], pa.int64()),
            "row": pa.array(range(len(spine)), pa.int64()),
        }
    )


def sql_list(paths: Sequence[Path]) -> str:
    """Return files as SQL lists them, each name as it is."""
    return f"[{sql_texts(glob.escape(str(path)) for path in paths)}]"


def sql_texts(values: Iterable[str]) -> str:
    """Return texts as SQL lists them."""
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)
