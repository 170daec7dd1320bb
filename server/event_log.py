"""The event log of a home, in the columns that its project declares."""

from typing import TYPE_CHECKING

from data.log.event_log import EventLog
from server.settings import Settings
from server.storage import log_storage

if TYPE_CHECKING:
    from features.batch.engine import Engine

__all__ = ["open_batch", "open_log"]


def open_log(settings: Settings) -> EventLog:
    """Return the home's event log. Opening it writes nothing."""
    return EventLog(log_storage(settings), settings.declared.schema)


def open_batch(settings: Settings) -> "Engine":
    """Return the configured batch engine over the home's event log; the caller closes it."""
    from features.batch.open import open_engine  # noqa: PLC0415 - it imports DuckDB

    return open_engine(
        open_log(settings), on=settings.batch, memory=settings.duckdb_memory, master=settings.spark_master
    )
