"""`encore import`: files of any shape into the event log, as a mapping says."""

import shlex
from dataclasses import asdict
from typing import Annotated

import typer

from data.errors import ConfigurationError, FaultyRowsError
from server.cli.terminal import Json, err, out, print_result, progress, settings_in_home
from server.settings import read_settings

__all__ = ["import_"]

_MOST_SHOWN = 50


def import_(  # noqa: PLR0917 - one per flag
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="CSV, JSON (lines or an array) or Parquet, plain, .gz or .zst; globs, URIs such as s3://bucket/key; a "
            "folder of Parquet, or a table of Delta Lake or Iceberg (its folder, or iceberg://CATALOG/NAMESPACE.TABLE).",
        ),
    ],
    mapping: Annotated[
        str | None,
        typer.Option(
            "--map", help="A mapping: a .toml file, or one that comes along: online-retail, rees46 or retailrocket."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="What the history is called in the event log; by default as the mapping.")
    ] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Add to the histories in the log; the same again changes nothing.")
    ] = False,
    skip_faults: Annotated[
        bool, typer.Option("--skip-faults", help="Leave out rows that cannot become events, instead of refusing all.")
    ] = False,
    propose: Annotated[
        bool, typer.Option("--propose", help="Only print a mapping for this file, to save and correct.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write files into the event log as a history, all or nothing."""
    from data.importers.mapping import SHIPPED  # noqa: PLC0415
    from server.jobs.build import import_history, propose_mapping  # noqa: PLC0415 - as in `server.cli.commands`

    if propose:
        text, columns = propose_mapping(read_settings(), files[0])
        print_result({"file": files[0], "text": text, "columns": columns}, as_json, text)
        return
    if mapping is None:
        first_file, *other_files = files
        if other_files and (first_file in SHIPPED or first_file.endswith(".toml")):
            advice = f"`encore import {shlex.join(other_files)} --map {shlex.quote(first_file)}`"
        else:
            advice = f"`encore import --propose {shlex.quote(first_file)}` prints one to begin with"
        raise ConfigurationError(f"--map: which mapping? {', '.join(SHIPPED)}, or a .toml file; {advice}")
    try:
        with progress("importing", as_json) as tell:
            report = import_history(
                settings_in_home("import"),
                files,
                mapping,
                tell,
                source=source,
                append=append,
                skip_faults=skip_faults,
            )
    except FaultyRowsError as error:
        if not as_json and len(error.faults) > 1:
            for fault in error.faults[:_MOST_SHOWN]:
                err.print(str(fault))
        raise
    print_result(asdict(report), as_json, str(report))
    if append and not as_json:
        out.print("run `encore rebuild` where states are in Redis already: it folds this history into them")
