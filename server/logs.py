"""Logs of the server's processes: lines for people, or JSON for machines, each with the id of its request.

At level info nothing personal is logged: no ids of users, no bodies, no query strings.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from server.api.asgi.envelope import request_id

__all__ = ["JsonLines", "log_config"]

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; fields given as `extra` stand beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _ORDINARY}
        if request_id.get():
            entry["request_id"] = request_id.get()
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def log_config(kind: Literal["text", "json"]) -> dict[str, Any]:
    """Return a configuration for `logging.config.dictConfig`. Requests are logged one by one in JSON only."""
    lines = {"()": "server.logs.JsonLines" if kind == "json" else "server.text_lines.TextLines"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": lines},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"level": "INFO", "handlers": ["stderr"]},
        "loggers": {
            "encore.request": {"level": "INFO" if kind == "json" else "WARNING"},
            "kafka": {"level": "ERROR"},  # it logs every connection
        },
    }
