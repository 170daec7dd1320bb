"""Log lines for people: a record is a line, whatever its message holds."""

import logging
from typing import Any

from data.printable import printable

__all__ = ["TextLines"]


class TextLines(logging.Formatter):
    """A record as one line of text; whatever its message holds, no second record can be made of it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """The record's line, without the traceback that may follow."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        """A traceback, whose last lines are an error's text."""
        return printable(super().formatException(ei), lines=True)
