"""`encore audit-log`: who changed what of this home."""

from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from data.printable import printable
from server.audit_log.entries import AuditLog, Entry, Found
from server.cli.terminal import Json, print_result, words
from server.settings import read_settings

__all__ = ["audit_log"]


def audit_log(
    last: Annotated[int, typer.Option("--last", min=1, max=100_000, help="So many changes, the newest last.")] = 20,
    as_json: Json = False,
) -> None:
    """Show who changed what of this home, when, and from what to what."""
    settings = read_settings()
    history = AuditLog(settings.audit_log).read(last)
    entries = [msgspec.to_builtins(entry) for entry in history.entries]
    result = {"entries": entries, "unreadable": history.unreadable}
    if history.entries or history.unreadable:
        print_result(result, as_json, _view(history))
    else:
        print_result(result, as_json, f"nothing was changed in {settings.home} since it keeps an audit log")


def _view(history: Found) -> RenderableType:
    table = Table("at (UTC)", "who", "what", "how it ended", "what changed")
    for entry in history.entries:
        author = f"{entry.who}\n{entry.through}" if entry.through else entry.who
        parameters = " ".join(f"{name}={value}" for name, value in entry.given.items())
        table.add_row(
            entry.at[:19].replace("T", " "),
            printable(author, lines=True),
            printable(f"{entry.what}\n{parameters}".strip(), lines=True),
            _ended(entry),
            "\n".join([*_changed(entry), *(f"{name}: {printable(value)}" for name, value in entry.noted.items())]),
        )
    if not history.unreadable:
        return table
    return Group(table, words(f"{history.unreadable:,} lines of it cannot be read", "yellow"))


def _ended(entry: Entry) -> str:
    if entry.state == "begun":
        return "not ended: it goes on, or was killed"
    seconds = "" if entry.seconds is None else f" after {entry.seconds:.1f} s"
    return f"{entry.state}{seconds}" + (f": {printable(entry.error, 200)}" if entry.error else "")


def _changed(entry: Entry) -> list[str]:
    return [
        printable(f"{name}: {moved.before or 'none'} → {moved.after or 'none'}")
        for name, moved in entry.changed.items()
    ]
