"""Training in odd shops: what it makes is right, what it refuses is named, and nothing is registered by halves."""

from dataclasses import replace

import msgspec
import pytest
from prediction_stream import prediction
from serving import make_home

from data.errors import TrainingError
from data.log.event_log import EventLog
from data.shop.shop import Shop, ShopConfig
from data.units import DAY_US, from_micros
from events.predictions.archive import Archived, PredictionArchive
from model.registry.published import Registry
from model.targets import REPEAT_PURCHASE
from model.training.train import TrainOptions, train
from server.jobs.build import build_examples, train_model
from server.settings import Settings, read_settings

pytestmark = pytest.mark.integration  # it trains a model

END_US = 1_760_000_000_000_000
QUESTION = replace(REPEAT_PURCHASE, horizon_us=3 * DAY_US)
OPTIONS = TrainOptions(parameters={"n_estimators": 5, "min_samples_leaf": 20})


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A shop with one product."""
    settings = read_settings(home=make_home(tmp_path_factory.mktemp("home")))
    shop = Shop(ShopConfig(END_US, users=250, products=1, days=80, events_per_day=400))
    EventLog(settings.log).write_history("shop", shop.history())
    return settings


def keep_predictions_of_another_plan(settings: Settings, many: int) -> None:
    """Live predictions by a model that is gone, of features that are gone, ten days before the log ends."""
    at = from_micros(END_US - 10 * DAY_US)
    kept = [
        msgspec.structs.replace(
            prediction(number, QUESTION.name),
            timestamp=at,
            as_of=at,
            user_id=f"u{number % 250:06d}",
            product_id="p00000",
            cold_start=False,
            shadow=None,
            features=msgspec.Raw(b'{"shoe_size":43.0}'),
        )
        for number in range(many)
    ]
    PredictionArchive(settings.predictions).append("topic", [Archived(0, place, one) for place, one in enumerate(kept)])


def test_a_target_without_yes_in_a_period_is_named_and_nothing_is_registered(settings: Settings) -> None:
    never = replace(QUESTION, label="view", rule="does_not_follow", meaning="nobody looks again", horizon_us=1)
    with pytest.raises(TrainingError, match=r"all \d+ examples of \w+ have label 1, and a model learns from both"):
        train_model(settings, lambda _: None, target=never, options=OPTIONS, max_rows=1_000)
    assert Registry(settings.models).targets() == []
    assert not (settings.home / "mlflow").exists()


@pytest.mark.long
def test_a_shop_with_one_product_learns_beside_predictions_of_another_plan(settings: Settings) -> None:
    keep_predictions_of_another_plan(settings, 2_000)
    examples, plan = build_examples(settings, lambda _: None, QUESTION, OPTIONS, max_rows=1_500)
    known = train(examples, QUESTION, feature_plan=plan.hash, options=OPTIONS).metadata
    assert "shoe_size" not in known.features
    assert known.served_later is not None, "whatever was asked of whom, it was asked then"
    assert known.metrics["test"].roc_auc > known.baselines["base_rate"].roc_auc
