"""The engine that the settings name."""

from data.log.event_log import EventLog
from features.batch.engine import MEMORY, DuckDBEngine, Engine

__all__ = ["open_engine"]


def open_engine(log: EventLog, *, on: str = "duckdb", memory: str = MEMORY, master: str = "local[2]") -> Engine:
    """Return `duckdb` (with so much `memory`) or `spark` (under a `master`) over one log; the caller closes it."""
    if on == "spark":
        from features.batch.spark.engine import SparkEngine  # noqa: PLC0415 - most do without its imports

        return SparkEngine(log, master=master)
    return DuckDBEngine(log, memory=memory)
