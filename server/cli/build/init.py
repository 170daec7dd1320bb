"""`encore init`: a folder in which a shop declares itself, drafted from a sample of its events."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from data.clock import wall_clock
from data.errors import ConfigurationError
from server.cli.terminal import Json, print_result

__all__ = ["init"]


def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make; its name is the project's.")],
    file: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="A sample of its events: CSV, JSON lines or Parquet."),
    ] = None,
    names: Annotated[
        str,
        typer.Option("--names", help="What the file's columns are called, with commas between, if it has no header."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Make a project: schema, features, targets and a mapping of your own, drafted for you to correct."""
    from data.atomic import whole_folder  # noqa: PLC0415 - each command imports what it needs
    from data.drafts.names import name_of  # noqa: PLC0415
    from data.drafts.project import project_files  # noqa: PLC0415
    from data.drafts.shop import draft_shop, plain_shop  # noqa: PLC0415 - it imports DuckDB
    from data.project import PROJECT, open_project  # noqa: PLC0415

    name = name_of(folder.absolute().name, {PROJECT}, instead="shop")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder}: there is something already; name a folder that is empty or not there yet")
    draft = (
        plain_shop(name)
        if file is None
        else draft_shop(file, name, [column.strip() for column in names.split(",")] if names else ())
    )
    files = project_files(name, draft, wall_clock())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as scratch:
        for path, text in files.items():
            (scratch / path).write_text(text, "utf-8")
    open_project(folder).schema  # noqa: B018 - what was written can be read
    columns = [asdict(column) for column in draft.columns]
    lines = [
        f"{column.column:<20.20} {column.role:<8} {column.name:<20} {column.values:>8,} values "
        f"{column.empty:>6,} empty  {column.example}"
        for column in draft.columns
    ]
    lines += [f"to decide: {doubt}" for doubt in draft.doubts]
    lines.append(f"{folder}: a project called {name}; read {folder / 'README.md'}, and correct what was guessed")
    result = {"project": name, "folder": str(folder), "files": list(files), "columns": columns, "doubts": draft.doubts}
    print_result(result, as_json, "\n".join(lines))
