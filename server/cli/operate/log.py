"""`encore log ...`: whether the event log is whole, accepted losses, and what is kept beside it for other readers."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from data.errors import ConfigurationError
from server.cli.terminal import Json, out, print_result, progress, words
from server.settings import Settings, read_settings

if TYPE_CHECKING:
    from data.log.survey import Surveyed
    from features.partials.making import Made
    from features.partials.partials import Partials

__all__ = ["log"]

log = typer.Typer(
    help="The event log: whether it is whole, and what to do where it is not.",
    epilog="Example: encore log check",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_SHOWN = 3


@log.command(epilog="Example: encore log check --pages --json")
def check(
    pages: Annotated[bool, typer.Option("--pages", help="Read every page and compare its checksum.")] = False,
    as_json: Json = False,
) -> None:
    """Show what the log holds and lacks in each partition; exit code 1 where readers would refuse it.

    `unknown` offsets lie beside files that an older Encore wrote: dead letters, or lost. A stream worker resolves them
    from the topic.
    """
    from data.log.survey import survey  # noqa: PLC0415
    from server.event_log import open_log  # noqa: PLC0415 - each command imports what it needs

    settings = read_settings()
    with progress("checking", as_json) as tell:
        partitions = survey(open_log(settings), pages=pages, tell=tell)
    nothing = f"nothing in {open_log(settings)}; make history with `encore generate` or `encore import`"
    ok = all(partition.ok for partition in partitions)
    result = {"ok": ok, "partitions": [_plain(partition) for partition in partitions]}
    print_result(result, as_json, _view(partitions) if partitions else nothing, ok=ok)


@log.command("accept-loss", epilog="Example: encore log accept-loss --yes")
def accept_loss(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Record the log's holes as lost, so that it is read again without them.

    Features, training and evaluation lack these events from then on. Before, look for a copy of the files, or run
    `encore stream`, which fills in what Kafka still holds. A file that is restored later is read all the same.
    """
    from server.event_log import open_log  # noqa: PLC0415

    settings = read_settings()
    event_log = open_log(settings)
    holes = event_log.holes()
    offsets = sum(len(hole.offsets) for hole in holes)
    if holes and not yes:
        for hole in holes:
            out.print(str(hole))
        typer.confirm(
            f"Go on without these {offsets:,} offsets? Features, training and evaluation will lack their events",
            abort=True,
        )
    for hole in holes:
        event_log.mark_lost(*hole)
    lost = [{"source": hole.source, "partition": hole.partition, "offsets": _pair(hole.offsets)} for hole in holes]
    text = f"{offsets:,} offsets recorded as lost; run `encore rebuild` if states were made with them"
    print_result({"lost": lost}, as_json, text if holes else "the log has no holes: nothing to accept")


@log.command(epilog="Example: encore log partials")
def partials(
    delete: Annotated[bool, typer.Option("--delete", help="Delete all, and have no more made.")] = False,
    as_json: Json = False,
) -> None:
    """Keep states of each file of the log beside it, so that rollouts and rebuilds read only what is new.

    Makes what is missing, and deletes what is of no use any more. Once there are some, the monitor does so every hour.
    They take some four times the room of the log.
    """
    from features.partials.partials import Partials  # noqa: PLC0415
    from server.audit_log.changes import note  # noqa: PLC0415
    from server.event_log import open_log  # noqa: PLC0415

    settings = read_settings()
    store = Partials(open_log(settings))
    try:
        with store.one_maker(), progress("keeping states of the log's files", as_json) as tell:
            made, deleted = (0, store.clear()) if delete else _make_missing(settings, store, tell)
    except BlockingIOError:
        raise ConfigurationError(f"another process makes the partials in {store}; wait for its end") from None
    note(**{name: number for name, number in (("made", made), ("deleted", deleted)) if number})
    text = f"{made:,} partials made, {deleted:,} deleted; all take {store.bytes() / 2**20:,.1f} MB in {store}"
    print_result({"made": made, "deleted": deleted, "bytes": store.bytes()}, as_json, text)


@log.command(epilog="Example: encore log iceberg --table shop.events --catalog lake")
def iceberg(
    table: Annotated[str | None, typer.Option(help="NAMESPACE.TABLE, at first encore.events.")] = None,
    catalog: Annotated[
        str | None, typer.Option(help="A catalog of PyIceberg's configuration; without one, of the home's own.")
    ] = None,
    leave: Annotated[bool, typer.Option("--leave", help="Keep it no more; the table stays as it is.")] = False,
    as_json: Json = False,
) -> None:
    """Name the log's files in a table of Apache Iceberg, which Spark, Trino and others read.

    No event is copied: the table's files are the log's. From then on the monitor does so every ten minutes, under the
    same name; run it yourself where no monitor runs.
    """
    from server.audit_log.changes import note  # noqa: PLC0415
    from server.log_table import TableName, keep_table, kept_table, leave_table, open_table  # noqa: PLC0415

    settings = read_settings()
    current = kept_table(settings)
    before = current or TableName()
    if leave:
        leave_table(settings)
        note(left=before.table)
        print_result({"left": before.table}, as_json, f"{before.table} is not kept any more; it stays in its catalog")
        return
    name = TableName(table or before.table, before.catalog if catalog is None else catalog)
    if not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)+", name.table):
        raise ConfigurationError(f"--table: NAMESPACE.TABLE, and not {name.table!r}")
    try:
        with progress("naming the log's files", as_json) as tell:
            synced = open_table(settings, name).sync(tell)
    except BlockingIOError:
        raise ConfigurationError(f"another process names the files of {name.table}; wait for its end") from None
    if name != current:
        keep_table(settings, name)
    note(**{kind: number for kind, number in (("added", synced.added), ("removed", synced.removed)) if number})
    text = (
        f"{name.table} names {synced.files:,} files of {synced.rows:,} events: {synced.added:,} came, "
        f"{synced.removed:,} went, {synced.copies:,} are copies"
    )
    print_result({**msgspec.to_builtins(name), **synced._asdict()}, as_json, text)


def _make_missing(settings: Settings, store: "Partials", tell: Callable[[str], None]) -> "Made":
    from features.partials.making import make_partials  # noqa: PLC0415
    from features.plan.cache import load_plan  # noqa: PLC0415

    plan = load_plan(settings.plan, settings.declared)
    return make_partials(store, plan, tell=tell)


def _view(partitions: "Sequence[Surveyed]") -> RenderableType:
    table = Table("source", "partition", "files", "rows", "offsets", "lost", "unknown", "holes")
    for partition in partitions:
        ranges = (_listed(part) for part in (partition.consumed, partition.lost, partition.unknown, partition.holes))
        table.add_row(
            partition.source,
            str(partition.partition),
            f"{partition.files:,}",
            f"{partition.rows:,}",
            *ranges,
            style="" if partition.ok else "red",
        )
    unreadable = (words(line, "red") for partition in partitions for line in partition.unreadable)
    parts: list[RenderableType] = [table, *unreadable]
    if any(partition.holes for partition in partitions):
        advice = (
            "Holes: restore the files from a copy; or run `encore stream`, which fills in what Kafka still holds; or "
            "go on without these events by `encore log accept-loss`."
        )
        parts.append(words(advice, "yellow"))
    return Group(*parts)


def _listed(ranges: Sequence[range]) -> str:
    texts = [f"{offsets.start:,} to {offsets.stop - 1:,}" for offsets in ranges[:_SHOWN]]
    if len(ranges) > _SHOWN:
        texts.append(f"{len(ranges) - _SHOWN:,} more ({sum(map(len, ranges)):,} in all)")
    return "\n".join(texts)


def _pair(offsets: range) -> list[int]:
    """Return a range as the first offset and the one after the last."""
    return [offsets.start, offsets.stop]


def _plain(partition: "Surveyed") -> dict[str, object]:
    names = ("consumed", "lost", "unknown", "holes")
    ranges = {name: [_pair(part) for part in getattr(partition, name)] for name in names}
    return partition._asdict() | ranges | {"ok": partition.ok}
