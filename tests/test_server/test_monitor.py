"""The monitor keeps predictions as they come, outlives a Kafka that is not there, and publishes what MLflow says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from mlflow_database import empty_database
from msgspec import structs
from polling import poll_until
from prediction_stream import messages, prediction
from serving import tiny_model
from target_log import START_US, Act, table

from data.errors import ConfigurationError
from data.log.event_log import EventLog
from data.units import DAY_US, MINUTE_US, from_micros
from events.predictions.archive import Archived, PredictionArchive
from events.predictions.sink import PredictionSink
from features.plan.plan import Plan
from model.registry.published import CHAMPION
from server.jobs.modelling import open_lifecycle
from server.jobs.monitor import Monitor
from server.jobs.quality import DriftReport, LiveReport
from server.process.server_process import free_port
from server.settings import Settings, read_settings


@contextmanager
def running(settings: Settings, database: Path | None) -> Iterator[Monitor]:
    stop, monitor = threading.Event(), Monitor(settings, database)
    thread = threading.Thread(target=monitor.run, args=(stop,))
    thread.start()
    try:
        yield monitor
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def test_predictions_are_kept_by_one_monitor(kafka_servers: str, tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path / "home", kafka_servers=kafka_servers)
    sink = PredictionSink(kafka_servers, messages)
    sink.start()
    with running(settings, tmp_path / "no database") as monitor:
        poll_until((settings.run / "predictions.lock").exists)
        with pytest.raises(ConfigurationError, match="another process keeps predictions"):
            Monitor(settings, None).run(threading.Event())
        sink.offer(range(12))
        poll_until(lambda: monitor.taken >= 12)
    sink.close()
    kept = PredictionArchive(settings.predictions).read(["id"], target="repeat_purchase")["id"].to_pylist()
    assert {f"p-{number}" for number in range(12)} <= set(kept)


@pytest.mark.long
@pytest.mark.integration  # it takes seconds
def test_what_was_promoted_in_mlflow_is_published(tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path / "home", kafka_servers=f"127.0.0.1:{free_port()}")
    empty_database(settings.mlflow / "mlflow.db")
    lifecycle = open_lifecycle(settings)
    version = lifecycle.register(tiny_model(("user_view_count",)))
    lifecycle.tracking.set_alias(version, CHAMPION)
    assert not lifecycle.registry.names(version.target, CHAMPION)
    with running(settings, settings.home / "mlflow" / "mlflow.db"):
        poll_until(lambda: lifecycle.registry.names(version.target, CHAMPION), deadline_s=120)
    assert lifecycle.registry.resolve(version.target) == version.name


@pytest.mark.long
@pytest.mark.integration  # it takes seconds
def test_after_a_change_of_champion_each_version_is_judged_for_itself(tmp_path: Path, plan: Plan) -> None:
    """What the old champion answered stays its own; drift is told of the new one, and not under the old one's name."""
    settings = read_settings(home=tmp_path / "home", kafka_servers=f"127.0.0.1:{free_port()}")
    empty_database(settings.mlflow / "mlflow.db")
    lifecycle = open_lifecycle(settings)
    old, new = (lifecycle.register(tiny_model(plan.names, seed)) for seed in range(2))
    lifecycle.introduce(old)
    log = [Act("view", "x", "y", 0), Act("view", "x", "y", 90 * DAY_US)]
    EventLog(settings.log).write_history("shop", [table(log)])
    features = msgspec.Raw(msgspec.json.encode(dict.fromkeys(plan.names, 1.0)))

    def keep(model: str, first: int, count: int) -> None:
        made = [
            structs.replace(
                prediction(number),
                as_of=from_micros(START_US + number * MINUTE_US),
                model=model,
                shadow=None,
                features=features,
            )
            for number in range(first, first + count)
        ]
        kept = [Archived(0, first + number, one) for number, one in enumerate(made)]
        PredictionArchive(settings.predictions).append("topic", kept)

    def judged() -> tuple[list[tuple[str, int]], str]:
        live, drift = ((settings.quality / f"{name}.json").read_bytes() for name in ("live", "drift"))
        [report], [drifted] = (
            msgspec.json.decode(live, type=list[LiveReport]),
            msgspec.json.decode(drift, type=list[DriftReport]),
        )
        return sorted((one.model, one.predictions) for one in report.models), drifted.model

    keep(old.name, 0, 600)
    with running(settings, settings.home / "mlflow" / "mlflow.db"):
        poll_until((settings.run / "predictions.lock").exists)
        lifecycle.introduce(new, promote=True)
        keep(new.name, 600, 40)
        poll_until((settings.quality / "drift.json").exists, deadline_s=120)
    assert judged() == ([(old.name, 600), (new.name, 40)], new.name)
