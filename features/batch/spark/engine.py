"""Batch on Spark, past one machine: the same Ibis expressions over the event log's files that DuckDB runs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

from data.errors import DataError, UnavailableError
from data.log.event_log import EventLog
from data.log.event_table import columns_of
from data.log.sources import newest_topic
from data.schema import Measure
from features.batch.backfill import entity_states
from features.batch.engine import check_log, spine_table
from features.batch.materializer import MaterializeCounts
from features.batch.queries import FACTS, LOG
from features.batch.spark.session import SparkConnection, literal, reason_of
from features.batch.spark.states import PACKED, WRITTEN, Pack, Write
from features.batch.timeline import entity_values
from features.plan.plan import EntityPlan, Plan
from features.state.states import States

__all__ = ["SparkEngine"]

_TWO_32 = 2**32


class SparkEngine:
    """Spark over one event log, which its executors must see at the same path. A context manager.

    `master` is a Spark master: local[2], spark://host:7077, yarn, k8s://... A session that the process already has is
    used as it is, whatever its master. Raises ConfigurationError where pyspark or Java 17 is missing or Spark does not
    start.
    """

    def __init__(self, log: EventLog, *, master: str = "local[2]") -> None:
        self.log = log
        self._spark = SparkConnection(master)
        self.connection: Any = ibis.pyspark.connect(self._spark.session)

    def __enter__(self) -> "SparkEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop Spark, if this engine started it."""
        self._spark.close()

    def events(self) -> ir.Table:
        """Return the log, every offset once: its columns, `time_us`, `arrived_us`, and measures in integer units."""
        schema, columns = self.log.schema, columns_of(self.log.schema)
        scan = self._scan()
        wanted = []
        for name in columns.log.names:
            value, default = f"`{name}`", columns.missing.get(name)
            if name not in scan.columns:  # no file is from after its declaration
                value = "CAST(NULL AS STRING)" if default is None else f"{default}"
            elif default is not None:
                value = f"coalesce({value}, {default})"
            if name in schema.labels:
                value = f"nullif({value}, '')"
            wanted.append(f"{value} AS `{name}`")
        arrived = "coalesce(arrived, timestamp)" if "arrived" in scan.columns else "timestamp"
        log = scan.selectExpr(*wanted, f"unix_micros({arrived}) AS arrived_us")
        log.drop("arrived_us").createOrReplaceTempView(LOG)
        exact = {measure.name: _exactly(f"`{measure.name}`", measure) for measure in schema.measures}
        facts = (f"{exact.get(name, f'`{name}`')} AS `{name}`" for name in columns.log.names)
        log.selectExpr(*facts, "unix_micros(timestamp) AS time_us", "arrived_us").createOrReplaceTempView(FACTS)
        return self.connection.table(FACTS)

    def values(self, plan: Plan, entity: str, spine: pd.DataFrame, names: Iterable[str]) -> pa.Table:
        """Compute the named features of `entity` at every row of `spine`, in its order.

        `spine` has the entity's join keys (strings) and `time_us` (int64).
        """
        session = self._spark.session
        session.createDataFrame(spine_table(spine, plan.of(entity))).createOrReplaceTempView("spine")
        expression = entity_values(self.events(), self.connection.table("spine"), plan.of(entity), names)
        # Not through Ibis, which converts via pandas and turns integers beside nulls into floats.
        answer: pa.Table = session.sql(self.connection.compile(expression)).toArrow()
        return answer.sort_by("row").drop_columns("row")

    def query(self, sql: str, **tables: pa.Table) -> pa.Table:
        """Run SQL of DuckDB's dialect over `facts` and `log` (`features.batch.queries`) and the tables given.

        The result comes to the driver. Raises DataError where the log cannot be read, and UnavailableError where
        Spark gives up.
        """
        session = self._spark.session
        self.events()
        for name, table in tables.items():
            session.createDataFrame(table).createOrReplaceTempView(name)
        with _named():
            answer: pa.Table = self._frame(self.connection.sql(sql, dialect="duckdb")).toArrow()
        return answer

    def entities(self) -> dict[str, int]:
        """Return how many entities of each kind the log has."""
        events = self.events()
        return {
            entity.name: int(self._frame(events.select(*keys).drop_null(how="any").distinct()).count())
            for entity in self.log.schema.entities
            if (keys := entity.join_keys)
        }

    def write_states(self, plan: EntityPlan, open_states: Callable[[], States]) -> MaterializeCounts:
        """Fold the whole log into states of a kind, and write them from the executors, as `materialize` does.

        `open_states` is called on the executors. Raises what that does, and UnavailableError where Spark gives up.
        """
        write = Write(plan, newest_topic(self.log.sources()), self.log.storage, open_states)
        with _named():
            return Write.total(self._states(plan).mapInArrow(write, WRITTEN).collect())

    def save_states(self, plan: EntityPlan, folder: str) -> None:
        """Write the states of a kind as Parquet: the join keys, and `state` and `last_event_us` (`Backfilled.pack`).

        `folder` is an address that Spark's executors write to; what is there is replaced.
        """
        keys = "".join(f"`{key}` string, " for key in plan.join_keys)
        pack = Pack(plan, newest_topic(self.log.sources()))
        with _named():
            self._states(plan).mapInArrow(pack, keys + PACKED).write.mode("overwrite").parquet(folder)

    def _states(self, plan: EntityPlan) -> Any:
        return self._frame(entity_states(self.events(), plan, newest_topic(self.log.sources())))

    def _frame(self, expression: ir.Table) -> Any:
        return self._spark.session.sql(self.connection.compile(expression))

    def _scan(self) -> Any:
        """Return the log's files as a Spark dataframe, every offset once."""
        files = check_log(self.log)
        read = self._spark.session.read.option("parquet.page.verify-checksum.enabled", "true")
        read = read.option("mergeSchema", "true")
        scans = [read.parquet(*_plain([file.path for file in files if file.is_whole]))]
        scans += [
            read.parquet(*_plain([file.path])).filter(f"offset >= {file.start}") for file in files if not file.is_whole
        ]
        return reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), scans)


@contextmanager
def _named() -> Iterator[None]:
    """Raise what an executor's Python raised, by its message: DataError where the data is at fault."""
    from pyspark.errors import PythonException  # noqa: PLC0415 - an extra
    from pyspark.errors.exceptions.base import PySparkException  # noqa: PLC0415 - the same

    try:
        yield
    except PythonException as error:
        text = str(error)
        kind = DataError if "data.errors.DataError: " in text else UnavailableError
        raise kind(reason_of(text)) from error
    except PySparkException as error:
        raise UnavailableError(f"Spark: it has given up: {reason_of(str(error))}") from error


def _exactly(value: str, measure: Measure) -> str:
    """Return SQL of a measure in its integer unit."""
    if measure.is_whole:
        return f"CAST({value} AS DECIMAL(38, 0))"
    units = f"rint(CAST({value} AS DOUBLE) * {measure.unit})"
    high = f"floor({units} / {_TWO_32})"
    # In two halves: Spark casts a float of more than 15 digits by its decimal digits, which are not all there.
    halves = f"CAST({high} AS DECIMAL(38, 0)) * {_TWO_32} + CAST({units} - {high} * {_TWO_32}D AS BIGINT)"
    return f"CAST({halves} AS DECIMAL(38, 0))"


def _plain(paths: Sequence[Path]) -> list[str]:
    """Return paths that Hadoop reads literally: on this file system, without globs."""
    return ["file:" + literal(str(path.absolute())) for path in paths]
