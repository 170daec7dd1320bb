"""A whole system on this machine, or only its infrastructure."""

from typing import Annotated, Literal

import typer

from data.signals import stop_on_signals
from server.cli.terminal import err, out, settings_in_home

__all__ = ["infra", "up"]

Kafka = Annotated[
    Literal["apache", "tansu"] | None,
    typer.Option(help="Apache Kafka, or Tansu in memory. By default Tansu only where Kafka is missing."),
]


def up(  # noqa: PLR0917 - one per flag
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Live events per second, 0 for none; by default as many as in the shop's history."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Stream workers.")] = 1,
    ui: Annotated[bool, typer.Option(help="Start the Feast UI.")] = True,
    console: Annotated[bool, typer.Option(help="Start the console.")] = True,
    infra: Annotated[bool, typer.Option(help="Start the embedded broker and store.")] = True,
    kafka: Kafka = None,
    audit: Annotated[bool, typer.Option("--audit", help="Run `encore verify` on a few entities all the time.")] = False,
    build_only: Annotated[bool, typer.Option("--build-only", help="End when all that was missing is built.")] = False,
) -> None:
    """Build what is missing, start everything, and show how it goes until Ctrl-C."""
    from server.jobs.runner import Runner, RunOptions  # noqa: PLC0415 - each command imports what it needs

    stop = stop_on_signals()
    options = RunOptions(rate, workers, ui, console, infra, kafka, build_only, audit)
    Runner(settings_in_home("up"), options, out).run(stop.wait)


def infra(kafka: Kafka = None) -> None:
    """Run only the embedded broker and store, until Ctrl-C."""
    from server.process.infra import infra_of  # noqa: PLC0415

    stop = stop_on_signals()
    broker, store = infra_of(settings_in_home("infra"), kafka, err.print)
    with store, broker:
        out.print(f"Kafka on {broker.servers}\nRedis on {store.host}:{store.port}")
        while not stop.wait(0.5):
            broker.check()
            store.check()
