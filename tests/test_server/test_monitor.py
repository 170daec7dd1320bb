"""The monitor keeps predictions as they come, outlives a Kafka that is not there, and publishes what MLflow says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from polling import poll_until
from prediction_stream import messages
from serving import tiny_model

from data.errors import ConfigurationError
from events.predictions.archive import PredictionArchive
from events.predictions.sink import PredictionSink
from model.registry.published import CHAMPION
from server.jobs.modelling import open_lifecycle
from server.jobs.monitor import Monitor
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


@pytest.mark.integration  # it takes seconds
def test_what_was_promoted_in_mlflow_is_published(tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path / "home", kafka_servers=f"127.0.0.1:{free_port()}")
    lifecycle = open_lifecycle(settings)
    version = lifecycle.register(tiny_model(("user_view_count",)))
    lifecycle.tracking.set_alias(version, CHAMPION)
    assert not lifecycle.registry.names(version.target, CHAMPION)
    with running(settings, settings.home / "mlflow" / "mlflow.db"):
        poll_until(lambda: lifecycle.registry.names(version.target, CHAMPION), deadline_s=120)
    assert lifecycle.registry.resolve(version.target) == version.name
