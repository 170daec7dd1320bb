"""The past: what the monitor keeps, what a Prometheus tells, gaps as gaps, and alerts by the limits of their rules."""

import http.server
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from test_live_feed import look, worker

from data.clock import wall_clock
from data.errors import UnavailableError
from data.units import DAY_US, MICROS
from server.console.watch.alerts import ALERTS, firing
from server.console.watch.series import SERIES, kept_over_time, prometheus_over_time, step_of
from server.meters.past import Keeper, Reading, append_reading, past_folder, read_past
from server.meters.prometheus import Prometheus
from server.meters.readings import readings_of
from server.meters.system import SystemMeters
from server.process.server_process import free_port
from server.settings import read_settings

ROOT = Path(__file__).parents[2]
NOON = round(datetime(2026, 3, 3, 12, tzinfo=UTC).timestamp()) * MICROS
BY_NAME = {series.name: series for series in SERIES}


def test_readings_are_kept_by_day_and_leave_after_a_week(tmp_path: Path) -> None:
    for day in range(12):
        append_reading(tmp_path, Reading(NOON + day * DAY_US, {"lag": float(day)}))
    last = NOON + 11 * DAY_US
    found = read_past(tmp_path, NOON, last)
    assert [one.values["lag"] for one in found] == [float(day) for day in range(3, 12)]
    assert [one.values["lag"] for one in read_past(tmp_path, last, last)] == [11.0]
    assert read_past(tmp_path / "nothing", NOON, last) == []


def test_a_line_that_a_crash_cut_off_costs_no_other(tmp_path: Path) -> None:
    append_reading(tmp_path, Reading(NOON, {"lag": 1.0}))
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + b'\n{"at_us": 17, "val')
    append_reading(tmp_path, Reading(NOON + 1, {"lag": 2.0}))
    assert [one.values["lag"] for one in read_past(tmp_path, NOON, NOON + 1)] == [1.0, 2.0]


def test_what_nobody_saw_is_a_gap() -> None:
    """minute    0    1    2    3    4
    kept         1    1    -    -    5
    """
    readings = [Reading(NOON + at * MICROS, {"lag": value}) for at, value in ((0, 0), (30, 2), (60, 1), (240, 5))]
    found = kept_over_time(readings, BY_NAME["lag"], NOON, NOON + 300 * MICROS)
    assert step_of(300) == 30
    assert found.lines == {"Lag": [0.0, 2.0, 1.0, None, None, None, None, None, 5.0, None]}
    assert found.times[0] == datetime(2026, 3, 3, 12, tzinfo=UTC)


def test_counts_are_shown_as_rates_and_not_across_gaps_or_restarts() -> None:
    counted = ((0, 0), (15, 15), (30, 45), (45, 5), (600, 700), (615, 730))
    readings = [Reading(NOON + at * MICROS, {"predictions": float(count)}) for at, count in counted]
    found = kept_over_time(readings, BY_NAME["predictions"], NOON, NOON + 630 * MICROS)
    known = {place: value for place, value in enumerate(found.lines["Scores"]) if value is not None}
    assert known == {0: 1.0, 1: 2.0, 20: 2.0}


def test_a_name_with_a_dot_has_a_line_for_each() -> None:
    readings = [Reading(NOON, {"lag.0": 1.0, "lag.1": 2.0, "lag": 3.0, "group.a": 4.0})]
    assert kept_over_time(readings, BY_NAME["lag."], NOON, NOON + 30 * MICROS).lines == {"0": [1.0], "1": [2.0]}
    assert kept_over_time(readings, BY_NAME["group."], NOON, NOON + 30 * MICROS).lines == {"a": [4.0]}


def test_a_status_is_read_as_numbers_and_nothing_is_invented() -> None:
    one = worker(rate=12.5, lag={0: 3, 1: 4}, freshness_ms=(20.0, 900.0), lost=1)
    found = readings_of(look(20, one), (), {"encore": 9})
    assert (found["lag.0"], found["lag.1"], found["events_per_second"], found["group.encore"]) == (3, 4, 12.5, 9)
    assert (found["freshness_p99_seconds"], found["messages_lost"], found["api_up"]) == (0.9, 1, 0)
    assert {"produced", "newest_event_age_seconds", "redis_up", "differing_values"}.isdisjoint(found)


@pytest.fixture
def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_of_the_console_is_that_of_the_rules(alert: Any, rules: dict[str, dict[str, Any]]) -> None:
    rule = rules[alert.name]
    assert rule["annotations"]["action"] == alert.action
    assert rule["annotations"]["runbook"] == alert.runbook
    limits = [float(number) for number in re.findall(r"(?:[<>]|==) (\d+(?:\.\d+)?)", rule["expr"])]
    # `up == 0` is below 1; what is anything but 0 is above it.
    assert (0.0 if alert.below and alert.limit == 1 else alert.limit) in limits
    heading = f"### {alert.name}\n"
    assert heading in (ROOT / "docs/operations.md").read_text()


def test_limits_of_charts_are_those_of_alerts() -> None:
    limits = {alert.name: alert.limit for alert in ALERTS}
    for series in SERIES:
        assert not series.alert or limits[series.alert] == series.limit, series


def test_alerts_fire_past_their_limits_and_not_where_nothing_is_known() -> None:
    assert firing({}) == []
    well = {"api_up": 1, "lag": 1000, "home_free_bytes": 20, "home_size_bytes": 100, "drifted.x": 0}
    assert firing(well) == []
    ill = {"api_up": 0, "lag": 1001, "home_free_bytes": 9, "home_size_bytes": 100, "drifted.x": 0, "drifted.y": 2}
    assert [alert.name for alert in firing(ill)] == ["EncoreApiDown", "EncoreLag", "EncoreDisk", "EncoreDrift"]


class _Answers(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        parts = urlsplit(self.path)
        if parts.path.endswith("/alerts"):
            data: Any = {
                "alerts": [
                    {"state": "firing", "labels": {"alertname": "EncoreSlow"}},
                    {"state": "pending", "labels": {"alertname": "EncoreLag"}},
                ]
            }
        else:
            start = float(parse_qs(parts.query)["start"][0])
            values = [[start, "1"], [start + 60, "NaN"], [start + 90, "4"]]
            data = {"result": [{"metric": {"partition": "0"}, "values": values}]}
        body = json.dumps({"status": "success", "data": data}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Prometheus(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


@pytest.mark.integration
def test_a_prometheus_tells_the_past_with_its_gaps(prometheus: Prometheus) -> None:
    found = prometheus_over_time(prometheus, BY_NAME["lag."], NOON, NOON + 120 * MICROS)
    assert found.lines == {"0": [1.0, None, None, 4.0, None]}
    assert "encore_stream_lag" in _Answers.asked[-1]
    assert prometheus_over_time(prometheus, BY_NAME["group."], NOON, NOON + MICROS).lines == {}
    assert prometheus.firing() == {"EncoreSlow"}


def test_a_prometheus_that_is_away_is_named() -> None:
    with pytest.raises(UnavailableError, match="PROMETHEUS_URL"):
        Prometheus(f"http://127.0.0.1:{free_port()}").firing()


def test_queries_name_metrics_that_there_are() -> None:
    sources = "".join(
        path.read_text() for room in ("api", "meters", "scoring") for path in (ROOT / "server" / room).rglob("*.py")
    )
    for series in SERIES:
        for name in re.findall(r"encore_[a-z_]+", series.query):
            assert f'"{name.removesuffix("_bucket").removesuffix("_total")}"' in sources, name


@pytest.mark.integration  # it waits for what is not there
def test_the_monitor_keeps_what_it_sees_also_where_nothing_runs(tmp_path: Path) -> None:
    settings = read_settings(
        home=tmp_path, kafka_servers=f"127.0.0.1:{free_port()}", redis_port=free_port(), api_port=free_port()
    )
    keeper = Keeper(settings, SystemMeters(settings))
    keeper()
    keeper()  # it is not time yet
    keeper.close()
    [found] = read_past(past_folder(settings), 0, wall_clock())
    assert found.values["workers"] == 0
    assert found.values["problems"] > 0
    assert "lag" not in found.values
    assert found.values["home_free_bytes"] > 0
