"""What all commands share: output, progress, JSON results, and logging to stderr."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from data.errors import ConfigurationError
from data.units import to_micros

__all__ = ["Json", "err", "log_to_stderr", "moment", "out", "print_result", "progress"]

out = Console(soft_wrap=True)
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def moment(flag: str, text: str | None, *, date: bool = True) -> int | None:
    """Return the time of a flag's value, UTC microseconds.

    A date, allowed if `date`, is the beginning of the day in UTC.
    """
    if text is None:
        return None
    with suppress(ValueError):
        found = datetime.fromisoformat(text)
        if found.tzinfo is None and date and len(text) == len("2026-11-21"):
            found = found.replace(tzinfo=UTC)
        if found.tzinfo is not None:
            return to_micros(found)
    kinds = "a date such as 2026-11-21, or a time with a zone"
    if not date:
        kinds = "a time with a zone, such as 2026-11-21T12:00:00Z"
    raise ConfigurationError(f"{flag} {text}: give {kinds}")


def print_result(result: Any, as_json: bool, shown: RenderableType, *, ok: bool = True) -> None:
    """Print a result, as JSON or for people. Exits with code 1 where it is not `ok`."""
    if as_json:
        sys.stdout.write(json.dumps(result, default=str) + "\n")
    else:
        out.print(shown, markup=False, highlight=False)
    if not ok:
        raise typer.Exit(1)


@contextmanager
def progress(title: str, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that reports progress: a spinner on a terminal, else a line per message."""
    status = err.status(f"{title} ...")

    def tell(message: str) -> None:
        if quiet:
            return
        if err.is_terminal:
            status.update(f"{title}: {message}")
        else:
            err.print(f"{title}: {message}", markup=False, highlight=False)

    if not quiet and err.is_terminal:
        status.start()
    try:
        yield tell
    finally:
        status.stop()


def log_to_stderr() -> None:
    """Send the log to stderr. Kafka's client logs errors only."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("kafka").setLevel(logging.ERROR)
