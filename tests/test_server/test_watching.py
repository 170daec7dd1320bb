"""The alert rules and the dashboard of deploy/: they ask for metrics that there are, and Prometheus understands them.

Prometheus and its promtool are on the PATH, or from `make prometheus`.
"""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from polling import poll_until
from redis import Redis
from serving import make_app, served

from server.process.server_process import free_port
from server.process.store import Store

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
ALERTS_TEST = ALERTS.with_name("alerts_test.yml")
TOOLS = str(ROOT / ".tools" / "bin")
PROMETHEUS = shutil.which("prometheus") or shutil.which("prometheus", path=TOOLS)
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=TOOLS)
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "encore.json"

_OF_PROMETHEUS = r"_(total|bucket|sum|count)$"
"""What Prometheus' text format adds to the names of counters and histograms."""


def _defined() -> set[str]:
    sources = ("server/scoring/telemetry.py", "server/api/routes/metrics.py")
    return {name for path in sources for name in re.findall(r'"(encore_[a-z_]+)"', (ROOT / path).read_text())}


def _expressions() -> list[str]:
    rules = [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return rules + [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize("expression", _expressions())
def test_what_is_watched_is_there(expression: str) -> None:
    asked = {re.sub(_OF_PROMETHEUS, "", name) for name in re.findall(r"encore_[a-z_]+", expression)}
    assert asked <= _defined()
    assert asked or "up{" in expression


def test_every_alert_says_what_to_do() -> None:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"].keys() == {"summary", "action"}
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
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [str(PROMETHEUS), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def asked(prometheus: str, expression: str) -> list[Any] | None:
    """What Prometheus answers to an expression; None while it does not."""
    try:
        url = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(url, timeout=10) as answer:
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
            found = poll_until(lambda: asked(prometheus, "encore_redis_up"), 60)
            assert found is not None
            assert found[0]["value"][1] == "1"
            for expression in _expressions():
                filled = expression.replace("$__rate_interval", "1m")  # as Grafana does
                assert asked(prometheus, filled) is not None, expression
            rules = json.load(urllib.request.urlopen(f"{prometheus}/api/v1/rules", timeout=10))["data"]["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
