"""`encore backup` and `encore restore`: a home in a folder or a bucket, and a home from there."""

from typing import Annotated

import typer

from server.cli.terminal import Json, print_result, progress, settings_in_home, told_where_interrupted
from server.settings import read_settings

__all__ = ["backup", "restore"]

_Place = Annotated[str, typer.Argument(help="A folder, or s3://bucket/folder, gs://..., az://account@container/...")]


def backup(
    to: _Place,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Keep so many backups, this one among them; by default all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Back up log, models and all else of the home that cannot be made anew, while everything runs.

    What is there from a backup before is not sent again. States in Redis are not in it: they are made from the log.
    """
    from data.filesystem.place import open_place  # noqa: PLC0415 - each command imports what it needs
    from server.jobs.backup.backup import back_up  # noqa: PLC0415

    place = open_place(to)
    with told_where_interrupted(), progress("backing up", as_json) as tell:
        report = back_up(settings_in_home("backup"), place, tell, keep=keep)
    lines = [
        f"backup {report.name} in {report.place}: {report.files:,} files, {report.bytes / 1e6:,.1f} MB, of which "
        f"{report.sent_files:,} files, {report.sent_bytes / 1e6:,.1f} MB, were sent",
        *(f"not in it: {item}" for item in report.elsewhere),
        *(f"dropped the backup {item}" for item in report.dropped),
    ]
    print_result(report._asdict(), as_json, "\n".join(lines))


def restore(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Where `encore backup` put it.")],
    name: Annotated[str | None, typer.Option("--backup", help="Which one, as --list names it; the newest.")] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Only show which backups there are.")] = False,
    as_json: Json = False,
) -> None:
    """Make an empty home from a backup, once all of it was fetched and checked; say what is left to do."""
    from data.filesystem.place import open_place  # noqa: PLC0415 - each command imports what it needs
    from server.jobs.backup.restore import list_backups  # noqa: PLC0415
    from server.jobs.backup.restore import restore as restore_home  # noqa: PLC0415

    place = open_place(source)
    if only_list:
        backups = list_backups(place)
        print_result(
            [
                {"backup": label, "at": manifest.at, "project": manifest.project, "version": manifest.version}
                | {"files": len(manifest.files), "bytes": manifest.bytes, "plan": manifest.plan}
                for label, manifest in backups.items()
            ],
            as_json,
            "\n".join(
                f"{label}  project {manifest.project}, {len(manifest.files):,} files, {manifest.bytes / 1e6:,.1f} MB"
                for label, manifest in backups.items()
            ),
        )
        return
    with told_where_interrupted(), progress("restoring", as_json) as tell:
        outcome = restore_home(read_settings(), place, tell, name=name)
    lines = [
        f"restored the backup {outcome.name} of project {outcome.project}: {outcome.events:,} events, "
        f"{outcome.files:,} files, {outcome.bytes / 1e6:,.1f} MB",
        *outcome.to_do,
    ]
    print_result(outcome._asdict(), as_json, "\n".join(lines))
