"""The alert rules and the dashboard of deploy/: they ask for metrics that there are."""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
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
