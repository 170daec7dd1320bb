"""What all commands share: output, progress, JSON results, and logging to stderr."""

import json
import logging
import logging.config
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import takewhile
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.text import Text

from data.errors import ConfigurationError, FaultyRowsError
from data.printable import printable
from data.units import to_micros
from server.process.home import enter_home
from server.settings import Settings, read_settings
from server.text_lines import TextLines

__all__ = [
    "Json",
    "Terminal",
    "asked_for_json",
    "err",
    "log_to_stderr",
    "moment",
    "out",
    "print_failure",
    "print_result",
    "progress",
    "settings_in_home",
    "told_where_interrupted",
    "words",
]


class Terminal(Console):
    """The console that commands print to, in which a `str` is text: no markup, no emoji codes, no control characters.

    Line ends are kept. Text with a style is made by `words`, and so is text that Rich takes for markup in any console:
    the title of a panel, the words of a spinner.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a text to what Rich draws."""
        return super().render_str(printable(text, lines=True), **options | {"markup": False, "emoji": False})


def words(text: object, style: str = "") -> Text:
    """Return a text in a style, escaped."""
    return Text(printable(text, lines=True), style)


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
        time = datetime.fromisoformat(text)
        if time.tzinfo is None and date and len(text) == len("2026-11-21"):
            time = time.replace(tzinfo=UTC)
        if time.tzinfo is not None:
            return to_micros(time)
    kinds = "a date such as 2026-11-21, or a time with a zone"
    if not date:
        kinds = "a time with a zone, such as 2026-11-21T12:00:00Z"
    raise ConfigurationError(f"{flag} {text}: give {kinds}")


def print_result(result: Any, as_json: bool, view: RenderableType, *, ok: bool = True) -> None:
    """Print a result, as JSON or for people. Exits with code 1 if it is not `ok`."""
    if as_json:
        sys.stdout.write(json.dumps(result, default=str) + "\n")
    else:
        out.print(view)
    if not ok:
        raise typer.Exit(1)


def asked_for_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON. What follows `--` are values."""
    return "--json" in takewhile(lambda argument: argument != "--", arguments)


def print_failure(error: Exception, message: str) -> None:
    """Print an error as JSON: its kind, its message, and the rows of a FaultyRowsError."""
    failure: dict[str, Any] = {"error": {"kind": type(error).__name__, "message": message}}
    if isinstance(error, FaultyRowsError):
        failure["faults"] = msgspec.to_builtins(error.faults)
    sys.stdout.write(json.dumps(failure) + "\n")


@contextmanager
def progress(title: str, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that reports progress: a spinner on a terminal, else a line per message."""
    status = err.status(words(f"{title} ..."))

    def tell(message: str) -> None:
        if quiet:
            return
        if err.is_terminal:
            status.update(words(f"{title}: {message}"))
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
    """End on SIGTERM as on Ctrl-C, also in the background of a script, and print what the interruption leaves."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt as interruption:
        for note in getattr(interruption, "__notes__", ()):
            err.print(f"encore: {note}", style="yellow")
        raise


def log_to_stderr(settings: Settings) -> None:
    """Send the log to stderr, as lines of text or of JSON. Kafka's client logs errors only."""
    handler = logging.StreamHandler()
    handler.setFormatter(TextLines())
    if settings.log_format == "json":
        from server.logs import JsonLines  # noqa: PLC0415 - it imports the API's layers

        handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("kafka").setLevel(logging.ERROR)
