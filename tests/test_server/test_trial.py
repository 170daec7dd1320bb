"""An A/B log goes from a file to the table of interventions: the effect that made it is measured, and served."""

import csv
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from polling import poll_until
from serving import TestClient, make_app, make_home, plan, promote, tiny_model

from data.default_shop import SHOP
from data.errors import ConfigurationError, DataError, FaultyRowsError, UnavailableError
from data.log.event_log import EventLog
from data.shop.shop import Shop, ShopConfig
from data.units import from_micros
from model.examples.trial import example_trial, trial_schema
from model.registry.published import Registry
from model.targets import CART_ABANDONMENT
from server.event_log import open_batch
from server.jobs.quality import measure_trial
from server.process.store import Store
from server.settings import Settings, read_settings

pytestmark = pytest.mark.integration  # it makes a shop and learns forests

END_US = 1_760_000_000_000_000
MAPPING = """
name = "experiment"

[time]
value = "time"

[event]
event_type = "arm"
user_id = "user_id"
product_id = "product_id"
amount = "coalesce(try_cast(request_amount AS DOUBLE), 0)"
bought = "try_cast(bought AS INTEGER)"
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A shop's history, and a model of carts that knows nothing of it: risk levels are as good as any."""
    settings = read_settings(home=make_home(tmp_path_factory.mktemp("home")))
    shop = Shop(ShopConfig(END_US, users=300, products=60, days=40, events_per_day=700))
    EventLog(settings.log).write_history("shop", shop.history())
    artifact = tiny_model(plan().names)
    learned = msgspec.structs.replace(artifact.metadata.parts["train"], last=from_micros(END_US))
    parts = artifact.metadata.parts | {"train": learned}
    metadata = msgspec.structs.replace(artifact.metadata, target="cart_abandonment", parts=parts)
    carts = replace(artifact, metadata=metadata)
    registry = Registry(settings.models)
    registry.save(carts)
    registry.promote("cart_abandonment", carts.metadata.version)
    promote(settings.home, artifact)
    return settings


@pytest.fixture(scope="module")
def written(settings: Settings) -> tuple[Path, Path]:
    """An A/B log of the shop's carts, of which the treatment rescues half of those lost, and its mapping."""
    file, mapping = settings.home / "experiment.csv", settings.home / "experiment.toml"
    with open_batch(settings) as engine:
        text, rows = example_trial(engine, CART_ABANDONMENT, rescued=0.5, max_rows=3_000)
        assert example_trial(engine, CART_ABANDONMENT, rescued=0.5, max_rows=3_000)[0] == text
    assert rows == len(text.splitlines()) - 1
    assert rows > 1_000
    file.write_text(text)
    mapping.write_text(MAPPING)
    return file, mapping


@pytest.mark.long
def test_the_table_is_an_assumption_until_an_effect_was_measured(
    settings: Settings, written: tuple[Path, Path], store: Store
) -> None:
    with TestClient(make_app(settings.home, store.host, store.port), base_url="http://127.0.0.1") as api:
        asked = {"user_id": "u1", "product_id": "p1", "amount": 10.0, "target": "cart_abandonment"}
        assumed = api.get("/interventions").json()
        assert {rule["basis"] for rule in assumed["rules"]} == {"assumed"}
        assert assumed["report"] is None
        assert api.post("/predict", json=asked).json()["impact_basis"] == "assumed"

        report = measure_trial(settings, [str(written[0])], str(written[1]), lambda _: None)
        found = report.measured
        with written[0].open(newline="") as file:
            control = [int(row["bought"]) for row in csv.DictReader(file) if row["arm"] == "control"]
        lost = 1 - sum(control) / len(control)
        assert found.uplift_interval[0] <= 0.5 * lost <= found.uplift_interval[1]
        measured = [level for level in found.levels if level.rescued is not None]
        assert sum(level.control + level.treated for level in found.levels) == found.rows
        assert measured
        assert all(level.rescued == pytest.approx(0.5, abs=0.15) for level in measured)
        assert "--train-end" in report.note, "this model says that it learned later than the trial"

        poll_until(lambda: api.get("/interventions").json()["report"] is not None)
        told = {rule["risk_level"]: rule for rule in api.get("/interventions").json()["rules"]}
        for level in measured:
            rule = told[level.risk_level]
            assert (rule["basis"], rule["rescued"]) == ("measured", level.rescued)
            assert tuple(rule["rescued_interval"]) == level.rescued_interval
        answer = api.post("/predict", json=asked).json()
        assert answer["impact_basis"] == told[answer["risk_level"]]["basis"]

        (settings.quality / "uplift.json").write_text("{")
        poll_until(lambda: api.get("/interventions").json()["report"] is None)
        assert {rule["basis"] for rule in api.get("/interventions").json()["rules"]} == {"assumed"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ('"arm"', "\"'both'\"", FaultyRowsError, "both"),
        ("try_cast(bought AS INTEGER)", "7", FaultyRowsError, "bought"),
        ('bought = "try_cast(bought AS INTEGER)"', "", ConfigurationError, r"\[event\] says nothing of bought"),
        ('"arm"', "\"'treated'\"", DataError, "each needs at least"),
        ('value = "time"', "value = \"'2025-09-01'\"", DataError, "one cart at one time"),
        ("[event]", '[event]\nintervention = "user_id"', DataError, "measure one at a time"),
    ],
)
def test_what_is_no_trial_is_refused_and_leaves_no_report(
    settings: Settings,
    written: tuple[Path, Path],
    tmp_path: Path,
    old: str,
    new: str,
    error: type[Exception],
    message: str,
) -> None:
    (settings.quality / "uplift.json").unlink(missing_ok=True)
    mapping = tmp_path / "wrong.toml"
    mapping.write_text(MAPPING.replace(old, new))
    with pytest.raises(error, match=message):
        measure_trial(settings, [str(written[0])], str(mapping), lambda _: None)
    assert not (settings.quality / "uplift.json").exists()


def test_without_a_model_of_carts_it_says_what_to_do(tmp_path: Path, written: tuple[Path, Path]) -> None:
    nobody = read_settings(home=make_home(tmp_path / "home"))
    with pytest.raises(UnavailableError, match="model cart_abandonment: there is no champion"):
        measure_trial(nobody, [str(written[0])], str(written[1]), lambda _: None)


def test_a_trial_names_what_a_question_names() -> None:
    schema = trial_schema(SHOP)
    assert (schema.keys, schema.labels) == (("user_id", "product_id"), ("intervention",))
    assert [measure.name for measure in schema.measures] == ["amount", "bought"]
