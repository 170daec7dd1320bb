"""Retraining, whole: a reason is found, a challenger is trained, and takes over only where it is better."""

from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from mlflow_database import empty_database
from prediction_stream import prediction
from serving import make_home, plan, tiny_model

from data.log.event_log import EventLog
from data.shop.shop import Shop, ShopConfig
from data.units import DAY_US, from_micros
from events.predictions.archive import Archived, PredictionArchive
from model.registry.published import CHALLENGER, CHAMPION, Registry
from model.targets import PURCHASE_INTENT
from server.jobs.modelling import open_lifecycle
from server.jobs.retraining import Retraining, retrain
from server.process.server_process import free_port
from server.settings import Settings, read_settings

pytestmark = pytest.mark.integration  # it takes many seconds

END_US = 1_760_000_000_000_000
TARGET = PURCHASE_INTENT.name
QUESTION = replace(PURCHASE_INTENT, trigger=("view", "purchase"), horizon_us=2 * DAY_US, meaning="buys within two days")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A shop of three weeks, whose champion learned noise from a log of ten events."""
    home = make_home(tmp_path_factory.mktemp("home"))
    settings = read_settings(home=home, kafka_servers=f"127.0.0.1:{free_port()}")
    shop = Shop(ShopConfig(END_US, users=300, products=80, days=21, events_per_day=1200))
    EventLog(settings.log).write_history("shop", shop.history())
    noise = tiny_model(plan().names)
    asked = msgspec.structs.replace(
        noise.metadata, target=TARGET, horizon_us=QUESTION.horizon_us, question=QUESTION, log_events=10
    )
    empty_database(settings.mlflow / "mlflow.db")
    lifecycle = open_lifecycle(settings)
    version = lifecycle.register(replace(noise, metadata=asked))
    lifecycle.promote(TARGET, version.name)
    return settings


@pytest.fixture(scope="module")
def runs(settings: Settings) -> list[Retraining]:
    """Three in a row: for a reason, without one, and without one all the same."""
    return [
        retrain(settings, lambda message: None, TARGET, if_needed=if_needed, max_rows=8_000)
        for if_needed in (True, True, False)
    ]


def test_a_reason_makes_a_challenger_and_the_better_is_promoted(runs: list[Retraining]) -> None:
    done = runs[0]
    assert done.state == "done"
    assert "the event log grew by" in done.reasons[0]
    assert done.contest is not None
    low, high = done.contest.lead
    assert 0 < low < done.contest.challenger.pr_auc - done.contest.champion.pr_auc < high
    assert done.promoted
    assert done.challenger != done.champion


def test_without_a_reason_nothing_is_trained(runs: list[Retraining]) -> None:
    assert (runs[1].state, runs[1].reasons, runs[1].challenger) == ("not needed", [], "")
    assert runs[1].champion == runs[0].challenger


def test_as_good_is_not_better_and_the_champion_stays(runs: list[Retraining], settings: Settings) -> None:
    again = runs[2]
    assert again.contest is not None
    assert again.contest.challenger == again.contest.champion
    assert not again.promoted
    assert again.contest.lead == (0.0, 0.0)
    aliases = {version.name: version.aliases for version in open_lifecycle(settings).tracking.versions(TARGET)}
    assert CHAMPION in aliases[runs[0].challenger]
    assert CHALLENGER in aliases[again.challenger]
    assert len(aliases) == 3


def test_the_question_is_the_one_that_the_champion_learned(runs: list[Retraining], settings: Settings) -> None:
    tracking = open_lifecycle(settings).tracking
    for run in runs:
        if run.challenger:
            assert tracking.artifact(tracking.find(TARGET, run.challenger)).metadata.asked == QUESTION


def test_a_retrained_version_is_reported_as_a_trained_one(runs: list[Retraining], settings: Settings) -> None:
    tracking = open_lifecycle(settings).tracking
    version = tracking.find(TARGET, runs[0].challenger)
    assert tracking.artifact(version).metadata.groups
    assert list((settings.mlflow / "artifacts").rglob("report.html"))


@pytest.mark.long
def test_what_has_drifted_does_not_train_the_same_log_again(runs: list[Retraining], settings: Settings) -> None:
    registry = Registry(settings.models)
    champion = registry.metadata(TARGET)
    assert champion.version == runs[0].challenger
    features = msgspec.Raw(msgspec.json.encode(dict.fromkeys(champion.features, -1e9)))
    one = msgspec.structs.replace(
        prediction(0, TARGET),
        timestamp=from_micros(END_US),
        as_of=from_micros(END_US),
        model=champion.version,
        cold_start=False,
        shadow=None,
        features=features,
    )
    PredictionArchive(settings.predictions).append(
        "topic", [Archived(0, offset, msgspec.structs.replace(one, id=f"p{offset}")) for offset in range(600)]
    )
    again = retrain(settings, lambda _: None, TARGET, if_needed=True, max_rows=8_000)
    assert "features drifted past a PSI" in again.reasons[0]
    assert (again.state, again.challenger) == ("not needed", "")
    assert f"{runs[2].challenger} was trained on this log already" in again.note


def test_times_are_told(runs: list[Retraining]) -> None:
    assert all(run.finished is not None and run.started <= run.finished for run in runs)
    assert all(before.started <= after.started for before, after in pairwise(runs))
