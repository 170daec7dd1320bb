"""The alert rules and the dashboard of deploy/: they ask for metrics that there are, and Prometheus understands them.

Prometheus and its promtool are on the PATH, or from `make prometheus`.
"""

import json
import re
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from background import in_background
from polling import poll_until
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from serving import make_app, served

from data.clock import wall_clock
from data.units import HOUR_US
from events.kafka.sender import Sender
from events.producer.options import ProduceOptions
from server.api.app import create_app
from server.api.part_server import part_served
from server.jobs.audit import Audit
from server.jobs.monitor import Monitor
from server.jobs.produce import run_producer
from server.jobs.quality import DriftReport
from server.jobs.retention.sizes import Sample, note
from server.jobs.stream import run_worker
from server.meters.monitor import MonitorMeters
from server.meters.part import Meters, Part
from server.meters.producer import ProducerMeters
from server.meters.stream import StreamMeters
from server.meters.system import SystemMeters
from server.process.child import stop_child
from server.process.server_process import free_port
from server.process.store import Store
from server.settings import read_settings

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
ALERTS_TEST = ALERTS.with_name("alerts_test.yml")
TOOLS = str(ROOT / ".tools" / "bin")
PROMETHEUS = shutil.which("prometheus") or shutil.which("prometheus", path=TOOLS)
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=TOOLS)
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "encore.json"

NOW = datetime(2026, 11, 26, tzinfo=UTC)
OPERATIONS = ROOT / "docs" / "operations.md"


def _expressions() -> list[str]:
    rules = [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return rules + [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.mark.integration
def test_grafanas_own_schema_knows_every_field_of_the_dashboard() -> None:
    """What it does not know, Grafana would pass over; read and written by its types, nothing is lost."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()

    def read_and_written(dashboard: dict[str, Any]) -> Any:
        return json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))

    def holds(more: Any, less: Any) -> bool:
        if isinstance(less, dict):
            return all(key in more and holds(more[key], value) for key, value in less.items())
        if isinstance(less, list):
            return len(more) == len(less) and all(map(holds, more, less))
        return bool(more == less)

    dashboard = json.loads(DASHBOARD.read_text())
    assert holds(read_and_written(dashboard), dashboard)
    dashboard["panels"][0]["fieldConfig"]["defaults"]["unitt"] = "s"
    assert not holds(read_and_written(dashboard), dashboard), "this test can fail"


@pytest.mark.long
@pytest.mark.integration
def test_what_is_watched_is_there(
    home: Path, kafka_servers: str, store: Store, redis_client: "Redis[bytes]", tmp_path: Path
) -> None:
    """Every metric that a rule or a panel asks for is said by an API, a worker, a monitor or a producer that run."""
    settings = read_settings(home=home, kafka_servers=kafka_servers, redis_port=store.port, project="watched")
    (home / "quality").mkdir()
    report = [DriftReport(target="t", at=NOW, model="m", rows=1, psi={"f": 0.1}, drifted=[])]
    (home / "quality" / "drift.json").write_bytes(msgspec.json.encode(report))
    now_us = wall_clock()  # what is noted beside these forgets samples of more than a week ago
    for hours in (4, 2):
        note(settings, Sample(now_us - hours * HOUR_US, {"redis": hours}))
    audit = Audit(at_us=1, entities=1, values=1, differing=0, differences=[])
    redis_client.set("watched:audit", msgspec.json.encode(audit))
    stream, producer, monitor = StreamMeters(), ProducerMeters(), Monitor(settings, tmp_path / "no database")
    parts: list[tuple[Part, list[Meters]]] = [
        (stream, []), (producer, []), (MonitorMeters(monitor), [SystemMeters(settings)]),
    ]  # fmt: skip
    names = settings.kafka_names
    options = ProduceOptions(
        mode="burst", count=50, servers=kafka_servers, topic=names.events, schema=settings.declared.schema
    )
    said: set[str] = set()
    with ExitStack() as stack:
        stack.enter_context(in_background(partial(run_worker, settings, name="w", on_status=stream.note)))
        stack.enter_context(in_background(monitor.run))
        poll_until(lambda: not stream.standstill())
        producer.note(run_producer(settings, options, threading.Event(), producer.note))
        with Sender(kafka_servers, names.events, None) as sender:
            sender.send(b"ann", b"no event")
        ports = [free_port() for _ in parts]
        for port, (part, others) in zip(ports, parts, strict=True):
            stack.enter_context(part_served(settings, "A_PORT", port, part, others))
        poll_until(lambda: samples_of(ports[0])["encore_stream_messages_total"] == 51)
        app = create_app(settings, model_check_s=0.02)
        ports.append(stack.enter_context(served(app)))
        for port in ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as answer:
                assert answer.status == 200
            said |= set(samples_of(port))
            if PROMTOOL is not None:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                    checked = promtool("check", "metrics", stdin=answer.read())
                assert checked.returncode == 0, checked.stderr
    for expression in _expressions():
        asked = set(re.findall(r"(?:encore|process)_[a-z_]+", expression))
        assert asked <= said, expression
        assert asked or "up{" in expression


def samples_of(port: int) -> dict[str, float]:
    """What a part says, by name; of several with labels, the last."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples}


def test_every_alert_says_what_to_do() -> None:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"].keys() == {"summary", "action", "runbook"}
            document, _, heading = rule["annotations"]["runbook"].partition("#")
            assert ROOT / document == OPERATIONS
            section = OPERATIONS.read_text().partition(f"### {rule['alert']}\n\n")[2]
            assert heading == rule["alert"].lower()
            assert len(section.partition("\n#")[0]) > 50, "it says what to do"
            assert rule["labels"]["severity"] in {"critical", "warning"}


has_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="no Prometheus here; `make prometheus` has it where there is apt"
)


def promtool(*arguments: object, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    command = [str(part) for part in (PROMTOOL, *arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False, cwd=ALERTS.parent)


@has_prometheus
@pytest.mark.integration
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    for asked in (("check", "config", "prometheus.yml"), ("test", "rules", ALERTS_TEST.name)):
        done = promtool(*asked)
        assert done.returncode == 0, done.stdout + done.stderr
    # A rule that is another fails: the tests are about what the rules say.
    (tmp_path / ALERTS.name).write_text(ALERTS.read_text().replace("> 900", "> 3600"))
    shutil.copy(ALERTS_TEST, tmp_path)
    assert b"EncoreFeaturesOld" in promtool("test", "rules", tmp_path / ALERTS_TEST.name).stderr


def test_every_alert_has_a_test() -> None:
    alerts = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    expected = [one for test in yaml.safe_load(ALERTS_TEST.read_text())["tests"] for one in test["alert_rule_test"]]
    assert {one["alertname"] for one in expected if one.get("exp_alerts")} == alerts
    assert {one["alertname"] for one in expected if not one.get("exp_alerts")} == alerts


@contextmanager
def watching(target: int, folder: Path) -> Iterator[str]:
    """The address of a Prometheus that scrapes a port of this machine each second."""
    config = yaml.safe_load((ALERTS.parent / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ALERTS)]
    config["scrape_configs"] = config["scrape_configs"][:1]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [str(PROMETHEUS), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log)
    try:
        yield f"http://{address}"
    finally:
        stop_child(process, 30)


def asked(prometheus: str, expression: str) -> list[Any] | None:
    """What Prometheus answers to an expression; None while it does not."""
    try:
        url = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(url, timeout=60) as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
            return found
    except OSError:
        return None


@has_prometheus
@pytest.mark.integration
def test_prometheus_scrapes_the_api(home: Path, store: Store, redis_client: "Redis[bytes]", tmp_path: Path) -> None:
    with served(make_app(home, store.host, store.port)) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            done = promtool("check", "metrics", stdin=answer.read())
        assert done.returncode == 0, done.stderr
        with watching(port, tmp_path) as prometheus:
            found = poll_until(lambda: asked(prometheus, "encore_redis_up"))
            assert found is not None
            assert found[0]["value"][1] == "1"
            for expression in _expressions():
                filled = expression.replace("$__rate_interval", "1m")  # as Grafana does
                assert asked(prometheus, filled) is not None, expression
            rules = json.load(urllib.request.urlopen(f"{prometheus}/api/v1/rules", timeout=60))["data"]["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
