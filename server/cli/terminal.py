"""What all commands share: output, progress, JSON results, and logging to stderr."""

import json
import logging
import logging.config
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from data.errors import ConfigurationError
from data.printable import printable
from data.units import to_micros
from server.logs import log_config
from server.process.home import enter_home
from server.settings import Settings, read_settings

__all__ = [
    "Json",
    "Terminal",
    "err",
    "log_to_stderr",
    "moment",
    "out",
    "print_result",
    "progress",
    "settings_in_home",
    "told_where_interrupted",
]


class Terminal(Console):
    """Where commands print. A `str` is text, wherever Rich meets it.

    It has no markup, no emoji codes, no control characters but line ends. What is to have a style is a `Text`, made
    with `printable` where it comes from outside.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as Rich draws it."""
        return super().render_str(printable(text, lines=True), **options | {"markup": False, "emoji": False})


out = Terminal()
err = Terminal(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def settings_in_home(command: str) -> Settings:
    """Return the settings, for a command that works in the home until it ends: `encore clean` refuses meanwhile."""
    settings = read_settings()
    enter_home(settings, f"encore {command}")
    return settings


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
        out.print(shown)
    if not ok:
        raise typer.Exit(1)


@contextmanager
def progress(title: str, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that reports progress: a spinner on a terminal, else a line per message."""
    status = err.status(Text(f"{title} ..."))  # Rich takes a str here for markup

    def tell(message: str) -> None:
        if quiet:
            return
        if err.is_terminal:
            status.update(Text(printable(f"{title}: {message}")))
        else:
            err.print(f"{title}: {message}")

    if not quiet and err.is_terminal:
        status.start()
    try:
        yield tell
    finally:
        status.stop()


@contextmanager
def told_where_interrupted() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C, and print the notes of the interruption: what it leaves."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt as interruption:
        for note in getattr(interruption, "__notes__", ()):
            err.print(f"encore: {note}", style="yellow")
        raise


def log_to_stderr(settings: Settings) -> None:
    """Send the log to stderr, as lines of text or of JSON. Kafka's client speaks only of errors."""
    logging.config.dictConfig(log_config(settings.log_format))
    logging.getLogger("kafka").setLevel(logging.ERROR)
