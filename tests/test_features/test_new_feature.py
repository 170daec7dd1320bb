"""The recipe for a feature, one line in features/definitions.py: plan, batch, states, Feast and model follow."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AFTER = '        "max_transaction_amount": over("amount", primitives.Max, where=purchased),\n'
NAMES = ["user_min_transaction_amount", "product_min_transaction_amount", "user_product_min_transaction_amount"]

PROGRAM = """
import json, sys
from datetime import datetime, timezone
from pathlib import Path
import pandas as pd
from data.default_shop import ShopEvent
from data.log.event_log import EventLog
from data.log.event_table import PlacedEvent, placed_table
from features.batch.engine import DuckDBEngine
from features.feast_stores.services import Service
from features.feast_stores.views import feast_objects
from features.facts import fact_maker
from features.plan.cache import load_plan
from features.state.values import EntityValues
import features

home = Path(sys.argv[1])
names = json.loads(sys.argv[2])
plan = load_plan(home / "plan.json")
at = datetime(2026, 1, 1, tzinfo=timezone.utc)
events = [ShopEvent(f"e{n}", "purchase", "u", "p", amount, at) for n, amount in enumerate((7.25, 2.5, 3.0))]
placed = [PlacedEvent(offset, event) for offset, event in enumerate(events)]
EventLog(home / "log").append("kafka-00", 0, range(len(events)), placed_table(placed))

ids = {"user": {"user_id": "u"}, "product": {"product_id": "p"}, "user_product": {"product_id": "p", "user_id": "u"}}
found = {"features": str(Path(features.__file__).parent), "names": plan.names, "batch": [], "state": [], "rebuilt": []}
with DuckDBEngine(EventLog(home / "log"), threads=1) as engine:
    for entity, name in zip(plan.entities, names):
        spine = pd.DataFrame([ids[entity.entity]]).assign(time_us=events[0].timestamp_us)
        found["batch"] += engine.values(plan, entity.entity, spine, [name])[name].to_pylist()
        values = EntityValues(entity, [name])
        state = values.algebra.empty()
        for event in events:
            values.algebra.update(state, fact_maker(plan.schema)(event))
        found["state"] += values.get(state, events[0].timestamp_us)
        (rebuilt,) = engine.states(entity)
        found["rebuilt"] += values.get(values.algebra.decode(rebuilt.state), events[0].timestamp_us)

objects = feast_objects(plan, "log", (Service("repeat_purchase"),))
found["views"] = [f.name for made in objects if type(made).__name__ == "FeatureView" for f in made.features]
services = [made for made in objects if type(made).__name__ == "FeatureService"]
found["service"] = [f.name for s in services for view in s.feature_view_projections for f in view.features]
print(json.dumps(found))
"""


def _line() -> str:
    """The line that docs/how-to/add-a-feature.md says to add."""
    recipe = (ROOT / "docs" / "how-to" / "add-a-feature.md").read_text()
    (line,) = re.findall(r'^"min_transaction_amount": .*$', recipe, re.MULTILINE)
    return f"        {line}\n"


@pytest.mark.long
@pytest.mark.integration
def test_one_line_adds_a_feature_everywhere(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for package in ("data", "features", "events"):
        shutil.copytree(ROOT / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
    definitions = project / "features" / "definitions.py"
    text = definitions.read_text()
    assert text.count(AFTER) == 1
    definitions.write_text(text.replace(AFTER, AFTER + _line()))

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path), json.dumps(NAMES)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["features"]) == project / "features", "the copy ran, not the project"
    assert set(NAMES) < set(found["names"]), "the plan's names are the model's inputs"
    assert found["batch"] == found["state"] == found["rebuilt"] == [2.5, 2.5, 2.5]
    assert set(NAMES) < set(found["views"])
    assert set(NAMES) < set(found["service"])
