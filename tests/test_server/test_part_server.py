"""What worker, monitor and producer say of themselves: counts, whether they go on, and to whom."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import TestClient

from data.clock import ManualClock
from data.errors import ConfigurationError
from events.kafka.sender import Summary
from events.stream.account import Account
from events.stream.heartbeat import Membership, WorkerStatus
from server.api.part_server import part_app, part_served
from server.api_keys import make_key
from server.jobs.monitor import Monitor
from server.meters.monitor import MonitorMeters
from server.meters.part import Part, exposed
from server.meters.producer import ProducerMeters
from server.meters.stream import StreamMeters
from server.process.server_process import free_port
from server.settings import Settings, read_settings

HERE = "http://127.0.0.1:8000"


class Time:
    """A monotonic clock that stands."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def samples(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """Values by name and labels' values."""
    return {
        (one.name, tuple(one.labels.values())): one.value
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
    }


def status(**said: Any) -> WorkerStatus:
    account = Account(0)
    return msgspec.structs.replace(account.status("w", Membership("m1", "consumer"), 1, {}), **said)


def summary(sent: int, *, waiting: int = 0, errors: int = 0, last: str | None = None) -> Summary:
    return Summary("t", sent, errors, waiting, 0, 1.0, None, last)


def test_a_worker_says_what_its_heartbeat_does_and_how_long_batches_take() -> None:
    account, meters = Account(0), StreamMeters()
    for took_s in (0.004, 0.2, 3.0):
        account.fold_seconds.observe(took_s)
    account.freshness_seconds.observe(7, times=5)
    said = status(
        suppressed=8, received=12, folded=9, repeats=2, late=1, conflicts=4, lost=3, set_aside=5, files=6,
        dead_letters={"invalid": 2, "future": 1}, lag={0: 70, 3: 0}, stood_s=2.5, uncommitted_s=1.5,
    )  # fmt: skip
    meters.note(said, account)
    found = samples(exposed(meters))
    of = {name.removeprefix("encore_stream_"): value for (name, labels), value in found.items() if not labels}
    counted = {
        "messages": 12,
        "events": 9,
        "repeats": 2,
        "late": 1,
        "conflicts": 4,
        "lost": 3,
        "set_aside": 5,
        "suppressed": 8,
    }
    assert {name: of[f"{name}_total"] for name in counted} == counted
    assert (of["log_files_total"], of["partitions"], of["stood_seconds"], of["uncommitted_seconds"]) == (6, 2, 2.5, 1.5)
    assert found["encore_stream_dead_letters_total", ("invalid",)] == 2
    assert found["encore_stream_lag", ("0",)] == 70
    assert found["encore_stream_member", ("consumer",)] == 1
    assert [found["encore_stream_fold_seconds_bucket", (le,)] for le in ("0.0025", "0.005", "1", "10", "+Inf")] == [
        0, 1, 2, 3, 3,
    ]  # fmt: skip
    assert (of["fold_seconds_count"], round(of["fold_seconds_sum"], 3)) == (3, 3.204)
    assert (of["freshness_seconds_count"], of["freshness_seconds_sum"]) == (5, 35)
    assert found["encore_stands_still", ("stream",)] == 0
    assert found["process_resident_memory_bytes", ()] > 1e6


def test_a_worker_is_well_while_it_goes_on() -> None:
    now = Time()
    meters, account = StreamMeters(now), Account(0)
    assert "waits for Redis and Kafka" in meters.standstill()
    meters.note(status(lag={0: 5_000}, stood_s=2), account)
    assert meters.standstill() == ""
    meters.note(status(lag={0: 5_000}, stood_s=31, waiting="Kafka: gone"), account)
    assert "w is stalled" in meters.standstill()
    meters.note(status(uncommitted_s=40, waiting="log: disk full"), account)
    assert "committed nothing for 40 s" in meters.standstill()
    meters.note(status(), account)
    now.now_s += 29
    assert meters.standstill() == ""
    now.now_s += 1
    assert "within one batch, or hangs, for 30 s" in meters.standstill()
    assert samples(exposed(meters))["encore_stands_still", ("stream",)] == 1


def test_a_producer_is_well_while_kafka_takes_what_it_sends_or_there_is_nothing_to_send() -> None:
    now, clock = Time(), ManualClock(5_000_000)
    meters = ProducerMeters(clock, now)
    now.now_s += 31
    assert "it waits for Kafka" in meters.standstill()
    meters.note(summary(3))
    assert meters.standstill() == ""
    clock.now_us = 9_000_000
    for _ in range(120):
        now.now_s += 1
        meters.note(summary(3))
    assert meters.standstill() == "", "an event an hour is well"
    for _ in range(31):
        now.now_s += 1
        meters.note(summary(3, waiting=7, errors=2, last="timed out"))
    assert meters.standstill() == "producer: Kafka acknowledges none of 7 events for 31 s: timed out"
    meters.note(summary(4, waiting=7, errors=2))
    assert meters.standstill() == ""
    now.now_s += 31
    assert "its queue is full" in meters.standstill()
    found = samples(exposed(meters))
    assert found["encore_producer_sent_total", ()] == 4
    assert found["encore_producer_refused_total", ()] == 2
    assert found["encore_producer_queue", ()] == 7
    assert found["encore_producer_acknowledged_timestamp_seconds", ()] == 9


def test_a_monitor_is_well_while_it_turns_and_stores() -> None:
    now = Time()
    monitor = SimpleNamespace(taken=4, started={"judge": 2}, turned_s=now.now_s, failing=(None, ""))
    meters = MonitorMeters(cast("Monitor", monitor), now)
    assert meters.standstill() == ""
    monitor.failing = now.now_s, "Kafka does not answer"
    now.now_s += 30
    assert meters.standstill() == "monitor: predictions are not stored for 30 s: Kafka does not answer"
    monitor.failing = None, ""
    now.now_s += 30
    assert "its last turn began 60 s ago" in meters.standstill()
    found = samples(exposed(meters))
    assert found["encore_monitor_predictions_total", ()] == 4
    assert found["encore_monitor_commands_total", ("judge",)] == 2


def asking(settings: Settings, part: Part) -> Callable[..., Any]:
    client = TestClient(part_app(settings, part), base_url=HERE)
    return lambda path, **headers: client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})


def well() -> StreamMeters:
    meters = StreamMeters()
    meters.note(status(), Account(0))
    return meters


def test_health_is_200_or_503_and_why() -> None:
    ask = asking(read_settings(), well())
    assert (ask("/health").status_code, ask("/health").json()) == (200, {"status": "ok", "problems": []})
    answer = asking(read_settings(), StreamMeters())("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"
    assert "waits for Redis" in answer.json()["problems"][0]


def test_the_doors_and_keys_are_the_apis(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = asking(read_settings(), well())
    assert ask("/metrics").status_code == 200
    assert ask("/metrics", host="evil.example").status_code == 403
    assert ask("/health", origin="https://evil.example").status_code == 403
    missing = ask("/other")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    assert ask("/metrics", host="").status_code in {400, 403}
    (reader, kept), (scorer, also) = make_key("prometheus"), make_key("storefront", "score")
    monkeypatch.setenv("ENCORE_API_KEYS", f"{kept},{also}")
    ask = asking(read_settings(), well())
    assert ask("/health").status_code == 200
    assert ask("/metrics").status_code == 401
    assert ask("/metrics", x_api_key="wrong").status_code == 401
    assert ask("/metrics", x_api_key=scorer).status_code == 403
    assert ask("/metrics", authorization=f"Bearer {reader}").status_code == 200
    monkeypatch.setenv("ENCORE_API_KEYS", str(kept._replace(until=date(2020, 1, 1))))
    assert asking(read_settings(), well())("/metrics", x_api_key=reader).status_code == 401


@pytest.mark.integration
def test_other_machines_come_with_keys_only_and_a_port_is_the_firsts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port, part = free_port(), well()
    open_to_all = read_settings(metrics_host="0.0.0.0")
    with pytest.raises(ConfigurationError, match="ENCORE_METRICS_HOST"), part_served(open_to_all, "X", port, part):
        pass
    settings = read_settings(home=tmp_path)
    with part_served(settings, "ENCORE_STREAM_PORT", port, part):
        with part_served(settings, "ENCORE_STREAM_PORT", port, StreamMeters()):
            assert "ENCORE_STREAM_PORT" in caplog.text
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
            assert json.load(answer)["status"] == "ok"
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60)
    with part_served(settings, "ENCORE_STREAM_PORT", port, part):
        pass  # it is free again
    with part_served(settings, "ENCORE_STREAM_PORT", 0, part):
        pass  # it serves nowhere
