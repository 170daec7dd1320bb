"""The event log of a home, in the columns that its project declares."""

from data.log.event_log import EventLog
from server.settings import Settings
from server.storage import log_storage

__all__ = ["open_log"]


def open_log(settings: Settings) -> EventLog:
    """Return the home's event log. Opening it writes nothing."""
    return EventLog(log_storage(settings), settings.declared.schema)
