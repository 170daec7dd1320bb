"""`encore uplift`: what interventions against abandoned carts do, from an A/B log; or an example of such a log."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from data.atomic import write_whole
from data.errors import ConfigurationError
from server.cli.terminal import Json, print_result, progress, settings_in_home

__all__ = ["uplift"]


def uplift(  # noqa: PLR0917 - one per flag
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="The A/B log: CSV, JSON or Parquet, as `encore import` reads them."),
    ],
    mapping: Annotated[
        str | None,
        typer.Option(
            "--map",
            help="A .toml file: `event_type` is treated or control, `bought` 0 or 1, and what a question names.",
        ),
    ] = None,
    example: Annotated[
        bool,
        typer.Option(
            "--example", help="Write an A/B log to FILE, of the carts in the event log, half of them treated."
        ),
    ] = False,
    rescued: Annotated[
        float, typer.Option(min=0, max=1, help="With --example: the share of lost carts that the treatment rescues.")
    ] = 0.15,
    max_rows: Annotated[int, typer.Option(min=1, help="With --example: at most so many carts.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Measure what interventions do, by risk level; answers about carts follow what was measured from then on."""
    from model.examples.trial import example_trial  # noqa: PLC0415 - it imports scikit-learn
    from server.event_log import open_batch  # noqa: PLC0415
    from server.jobs.quality import cart_target, measure_trial  # noqa: PLC0415

    settings = settings_in_home("uplift")
    if example:
        if len(files) != 1:
            raise ConfigurationError("--example writes one file; name one")
        with open_batch(settings) as engine:
            text, rows = example_trial(engine, cart_target(settings), rescued=rescued, max_rows=max_rows, seed=seed)
        write_whole(Path(files[0]), text.encode())
        print_result({"file": files[0], "rows": rows}, as_json, f"{files[0]}: {rows:,} carts")
        return
    if mapping is None:
        raise ConfigurationError("--map: which mapping? give a .toml file (docs/models.md has one)")
    with progress("measuring", as_json) as tell:
        report = measure_trial(settings, files, mapping, tell)
    measured = report.measured
    lines = [
        f"{measured.rows:,} carts, {measured.treated_share:.0%} of them treated: {measured.uplift:+.3f} bought "
        f"({measured.uplift_interval[0]:+.3f} to {measured.uplift_interval[1]:+.3f})"
    ]
    for level in measured.levels:
        arms = f"{level.control:>7,} control {level.treated:>7,} treated"
        label = f"  {level.risk_level:<7} {level.intervention:<16} {arms}"
        if level.rescued is None or level.rescued_interval is None:
            lines.append(f"{label}  too few to measure")
            continue
        low, high = level.rescued_interval
        assumed = "" if level.assumed is None else f"; assumed {level.assumed:.3f}"
        lines.append(f"{label}  rescues {level.rescued:.3f} of lost carts ({low:.3f} to {high:.3f}{assumed})")
    lines += (f"  Qini of {name}: {curve.coefficient:+.4f} purchases a cart" for name, curve in measured.qini.items())
    lines += [f"note: {report.note}"] if report.note else []
    print_result(msgspec.to_builtins(report), as_json, "\n".join(lines))
