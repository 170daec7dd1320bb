"""The event log of a home, in the columns that its project declares."""

from data.log.event_log import EventLog
from server.settings import Settings

__all__ = ["open_log"]


def open_log(settings: Settings) -> EventLog:
    """Return the home's event log. Opening it touches nothing."""
    return EventLog(settings.log, settings.declared.schema)
