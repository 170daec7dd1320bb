"""`encore produce`: the producer's own flags, except those that the settings determine."""

import inspect
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data.signals import stop_on_signals
from events.producer.options import Flag, ProduceOptions, flags
from events.producer.pacing import seldom
from server.cli.run.watched import watched
from server.cli.terminal import Json, err, print_result, settings_in_home

if TYPE_CHECKING:
    from events.producer.produce import Summary

__all__ = ["produce"]

_NOT_ASKED = {"servers", "partitions", "seed", "users", "products"}
"""Flags that the settings determine, or that the stored shop fixes."""

_BY_PROJECT = "topic"
"""The flag whose default is a setting of the project."""


def produce(as_json: Json = False, **values: Any) -> None:
    """Send live traffic of the shop, or a file, into Kafka."""
    from server.jobs.produce import run_producer  # noqa: PLC0415
    from server.meters.producer import ProducerMeters  # noqa: PLC0415

    settings = settings_in_home("produce")
    values["topic"] = values["topic"] or settings.kafka_names.events
    options = ProduceOptions(
        **values,
        servers=settings.kafka_servers,
        access=settings.kafka_access,
        partitions=settings.partitions,
        schema=settings.declared.schema,
    )
    meters, print_summary = ProducerMeters(), seldom(err.print, watched=err.is_terminal)

    def report(so_far: "Summary") -> None:
        meters.note(so_far)
        print_summary(so_far)

    with watched(settings, "ENCORE_PRODUCER_PORT", settings.producer_port, meters):
        summary = run_producer(settings, options, stop_on_signals(), report)
    print_result(asdict(summary) | {"rate": summary.rate}, as_json, str(summary), ok=summary.ok)


def _option(flag: Flag) -> Any:
    help_text = f"{flag.help} By default the project's." if flag.field == _BY_PROJECT else flag.help
    return typer.Option(flag.name, help=help_text)


def _signature() -> inspect.Signature:
    """Return the command's flags as Typer reads them."""
    parameters = [
        inspect.Parameter(
            flag.field,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if flag.field == _BY_PROJECT else flag.default,
            annotation=Annotated[flag.type | None if flag.field == _BY_PROJECT else flag.type, _option(flag)],
        )
        for flag in flags()
        if flag.field not in _NOT_ASKED
    ]
    as_json = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    return inspect.Signature([*parameters, as_json])


produce.__signature__ = _signature()  # type: ignore[attr-defined]
