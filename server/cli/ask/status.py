"""How the system is, and whether all paths to a feature's value agree."""

from contextlib import closing
from typing import Annotated

import msgspec
import typer

from data.signals import stop_on_signals
from server.cli.terminal import Json, log_to_stderr, moment, print_result, progress, settings_in_home
from server.process.child import stand_back
from server.settings import read_settings

__all__ = ["status", "verify"]


def status(as_json: Json = False) -> None:
    """Show the system's status: traffic, lag, freshness, dead letters, model, requests."""
    from server.cli.view import status_view  # noqa: PLC0415
    from server.jobs.status import Observer  # noqa: PLC0415

    with closing(Observer(read_settings())) as observer:
        observed = observer.look()
    result = msgspec.to_builtins(observed) | {"folded": observed.folded, "rejected": observed.rejected}
    lacks = observed.produced is None or observed.newest_event_us is None or observed.api is None
    print_result(result, as_json, status_view(observed), ok=not lacks)


def verify(  # noqa: PLR0917 - one per flag
    sample: Annotated[int, typer.Option(min=1, help="Entities of each kind.")] = 20,
    as_of: Annotated[str | None, typer.Option(help="A time, RFC 3339; not before the newest event.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the entities.")] = 0,
    spark: Annotated[
        bool, typer.Option("--spark", help="Compare Spark too; needs the extra `spark` and Java.")
    ] = False,
    every: Annotated[
        float | None, typer.Option(min=1, help="Again and again, so many seconds apart; `encore status` shows it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute all features of some entities by oracle, batch, state and Feast; exit code 1 where they differ."""
    as_of_us = moment("--as-of", as_of, date=False)
    settings = settings_in_home("verify")
    stand_back()
    from server.cli.view import verdict_view  # noqa: PLC0415
    from server.jobs.audit import run_audit  # noqa: PLC0415
    from server.jobs.verification import run_verification  # noqa: PLC0415

    if every is not None:
        if spark:
            raise typer.BadParameter("--spark compares once; leave out --every")
        log_to_stderr(settings)
        run_audit(settings, stop_on_signals(), every_s=every, sample=sample)
        return
    with progress("verifying", as_json) as tell:
        verdict = run_verification(settings, sample=sample, as_of_us=as_of_us, seed=seed, spark=spark, tell=tell)
    print_result(verdict._asdict() | {"ok": verdict.ok}, as_json, verdict_view(verdict), ok=verdict.ok)
