"""Log lines for people: one record is one line."""

import logging
from typing import Any

from data.printable import printable

__all__ = ["TextLines"]


class TextLines(logging.Formatter):
    """Formats a record as one line of text; its message is escaped, so that it cannot forge a second record."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Return the record's line, without the traceback that may follow."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        """Return a traceback, whose last lines are an error's text."""
        return printable(super().formatException(ei), lines=True)
