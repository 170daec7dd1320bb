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
    found = AuditLog(settings.audit_log).read(last)
    entries = [msgspec.to_builtins(entry) for entry in found.entries]
    told = {"entries": entries, "unreadable": found.unreadable}
    if found.entries or found.unreadable:
        print_result(told, as_json, _view(found))
    else:
        print_result(told, as_json, f"nothing was changed in {settings.home} since it keeps an audit log")


def _view(found: Found) -> RenderableType:
    table = Table("at (UTC)", "who", "what", "how it ended", "what changed")
    for entry in found.entries:
        who = f"{entry.who}\n{entry.through}" if entry.through else entry.who
        given = " ".join(f"{name}={value}" for name, value in entry.given.items())
        table.add_row(
            entry.at[:19].replace("T", " "),
            printable(who, lines=True),
            printable(f"{entry.what}\n{given}".strip(), lines=True),
            _ended(entry),
            "\n".join([*_changed(entry), *(f"{name}: {printable(value)}" for name, value in entry.noted.items())]),
        )
    if not found.unreadable:
        return table
    return Group(table, words(f"{found.unreadable:,} lines of it cannot be read", "yellow"))


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
