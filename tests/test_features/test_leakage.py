"""What knows the future: a planted feature is refused, and events after the question leave no trace in the features."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from serving import plan
from target_log import spine_of

from data.default_shop import SHOP
from data.errors import TrainingError
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS, declared
from data.units import DAY_US
from features.batch.engine import DuckDBEngine
from model.examples.training_set import TrainingSet, build_training_set
from model.targets import Target
from model.training.train import TrainOptions, train

pytestmark = pytest.mark.integration

START_US = 1_767_225_600_000_000
USERS, DAYS = 50, 40
SMALL = TrainOptions(parameters={"n_estimators": 30, "min_samples_leaf": 20})

# A fourth question, in a few declared lines: is a product that a user looks at in their cart within 12 hours?
CART_INTEREST = Target(
    name="cart_interest",
    trigger=("view",),
    label="add_to_cart",
    horizon_us=DAY_US // 2,
    meaning="the user puts the product into the cart",
    feature_service="repeat_purchase",
)


def shop_of_chance(folder: Path) -> EventLog:
    """Each user looks at a product a day, and by a coin puts it into the cart; every other event betrays the coin.

    08:00 view (the question)    08:01 add_to_cart, if the coin says so    08:02 to 08:04 three purchases, if it does
    """
    random = np.random.default_rng(0)
    rows = []
    for day in range(DAYS):
        for user in range(USERS):
            at = START_US + day * DAY_US + 8 * DAY_US // 24 + user
            product = f"p{day % 7}"
            rows.append(("view", user, product, at))
            if random.random() < 0.4:
                rows.append(("add_to_cart", user, product, at + 60_000_000))
                rows += [("purchase", user, product, at + (2 + more) * 60_000_000) for more in range(3)]
    kinds, users, products, times = zip(*rows, strict=True)
    table = pa.table(
        {
            "event_id": [f"e{number}" for number in range(len(rows))],
            "event_type": kinds,
            "user_id": [f"u{user}" for user in users],
            "product_id": products,
            "amount": np.ones(len(rows)),
            "timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
        }
    )
    log = EventLog(folder / "log")
    log.write_history("chance", [declared(table, EVENT_COLUMNS, SHOP)])
    return log


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    log = shop_of_chance(tmp_path_factory.mktemp("chance"))
    spine = spine_of(log, CART_INTEREST)
    spine = spine[~spine["later"]].reset_index(drop=True)

    def retrieve(frame: Any) -> Any:
        times = frame.assign(time_us=frame["event_timestamp"].astype("int64"))
        with DuckDBEngine(log) as engine:
            for entity in plan().schema.asked:
                names = [feature.name for feature in plan().of(entity.name).features]
                values = engine.values(plan(), entity.name, times, names)
                frame = frame.assign(**{name: values[name].to_pandas() for name in names})
        return frame

    return build_training_set(spine, retrieve)


def test_features_as_of_the_question_say_nothing_of_a_coin(examples: TrainingSet) -> None:
    known = train(examples, CART_INTEREST, feature_plan="p", options=SMALL).metadata
    assert known.target == "cart_interest"
    assert known.metrics["test"].base_rate == pytest.approx(0.4, abs=0.08)
    assert known.evaluation is not None
    low, high = known.evaluation.intervals["model"]["roc_auc"]
    assert low <= 0.5 <= high
    assert known.metrics["test"].roc_auc < 0.58


def test_a_minute_later_the_features_say_it_all(examples: TrainingSet) -> None:
    """The test above can fail: the same features, as of shortly after, know the coin. And they are refused by name."""
    place = examples.features.index("user_product_purchases_1h")
    rows = examples.rows.copy()
    rows[:, place] = 3 * examples.labels
    with pytest.raises(TrainingError, match="feature user_product_purchases_1h alone tells nearly every label of"):
        train(replace(examples, rows=rows), CART_INTEREST, feature_plan="p", options=SMALL)
