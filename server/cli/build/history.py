"""The history of a synthetic shop into the log, and the log as lines."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from data.clock import wall_clock
from server.cli.terminal import Json, print_result, progress, settings_in_home

__all__ = ["export", "generate"]


def generate(  # noqa: PLR0917 - one per flag
    users: Annotated[int, typer.Option(min=1)] = 2_000,
    products: Annotated[int, typer.Option(min=1)] = 400,
    days: Annotated[int, typer.Option(min=1)] = 120,
    events_per_day: Annotated[float, typer.Option(min=1)] = 2_100.0,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    as_json: Json = False,
) -> None:
    """Write the history of a synthetic shop into the event log."""
    from data.shop.shop import ShopConfig  # noqa: PLC0415
    from server.jobs.build import generate_history  # noqa: PLC0415

    config = ShopConfig(wall_clock(), users, products, days, events_per_day, seed)
    with progress("generating", as_json) as tell:
        rows = generate_history(settings_in_home("generate"), config, tell)
    print_result(
        {"events": rows, **asdict(config)}, as_json, f"{rows:,} events of {users:,} users and {products:,} products"
    )


def export(
    file: Annotated[Path, typer.Argument(help="A .jsonl or .jsonl.gz file to write.")], as_json: Json = False
) -> None:
    """Write the event log as lines of JSON, oldest first, which `encore produce --mode file` sends."""
    from server.jobs.export import export_log  # noqa: PLC0415

    settings = settings_in_home("export")
    with progress("exporting", as_json) as tell:
        rows = export_log(settings, file, tell)
    print_result({"events": rows, "file": str(file)}, as_json, f"{rows:,} events in {file}")
