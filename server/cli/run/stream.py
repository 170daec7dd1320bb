"""A worker, and a relay of another topic."""

import sys
from functools import partial
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Annotated, Literal

import typer

from data.signals import stop_on_signals
from server.cli.run.watched import watched
from server.cli.terminal import err, log_to_stderr, settings_in_home

__all__ = ["leave_pandas_out", "stream", "translate"]


def stream(
    name: Annotated[
        str, typer.Option(help="How `encore status` and Kafka's tools call it; one per worker.")
    ] = "worker-1",
    topic: Annotated[str | None, typer.Option(help="By default the project's.")] = None,
    group: Annotated[
        str | None,
        typer.Option(help="The Kafka consumer group, by default the project's: its members share the partitions."),
    ] = None,
    engine: Annotated[
        Literal["worker", "spark"],
        typer.Option(help="What folds: this process, or executors of Spark, which read all partitions."),
    ] = "worker",
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Of `--engine spark`: where Spark keeps its place (file:, s3a:, hdfs:); else in the home."),
    ] = None,
) -> None:
    """Run one stream worker until Ctrl-C: Kafka events into states and the event log.

    encore stream --name worker-2

    ENCORE_SPARK_MASTER=spark://host:7077 encore stream --engine spark
    """
    if engine == "worker":
        leave_pandas_out()
    from server.jobs.stream import run_spark_job, run_worker  # noqa: PLC0415
    from server.meters.stream import StreamMeters  # noqa: PLC0415

    if checkpoint is not None and engine != "spark":
        raise typer.BadParameter("--checkpoint goes with --engine spark: a worker has none")
    settings, meters = settings_in_home("stream"), StreamMeters()
    log_to_stderr(settings)
    with watched(settings, "ENCORE_STREAM_PORT", settings.stream_port, meters):
        run = run_worker if engine == "worker" else partial(run_spark_job, checkpoint=checkpoint)
        run(settings, stop_on_signals(), name=name, topic=topic, group=group, on_status=meters.note)


def translate(
    mapping: Annotated[Path, typer.Argument(help="A .toml file that says where events are in a topic's messages.")],
    name: Annotated[
        str, typer.Option(help="How Kafka's tools call it; one per process, and the same after a restart.")
    ] = "relay-1",
) -> None:
    """Pass a topic of another shape or order on as events, each once, until Ctrl-C."""
    from server.jobs.stream import run_relay  # noqa: PLC0415

    settings = settings_in_home("translate")
    log_to_stderr(settings)
    passed = run_relay(settings, mapping, stop_on_signals(), name=name)
    err.print(f"{passed.messages:,} messages: {passed.events:,} events, {passed.letters:,} dead letters")


def leave_pandas_out() -> None:
    """Keep PyArrow from importing pandas, for the life of the process; call it before the first array is made.

    PyArrow imports pandas with the first array, only to recognize its objects, and tries only once. That takes 0.2 s of
    processor time (a second where no bytecode is kept) and 40 MB from a worker, which has no such objects and must be
    back soon after a kill.
    """
    import pyarrow as pa  # noqa: PLC0415 - a tenth of a second, which other commands need not wait for

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas(MetaPathFinder):
    @classmethod
    def find_spec(cls, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ImportError("PyArrow is to do without")
