"""Examples to train on, of which the answer is known."""

import numpy as np

from data.units import DAY_US
from model.examples.training_set import TrainingSet

__all__ = ["FEATURES", "SMALL", "examples_over"]


FEATURES = (
    "user_product_purchase_count",
    "days_since",
    "never",
    "noise",
    "user_days_since_first_event",
    "user_repeat_purchase_count",
    "user_purchase_count",
    "product_avg_transaction_amount",
)


SMALL = {"n_estimators": 15, "min_samples_leaf": 10}


def examples_over(days: int, rows: int = 3000, seed: int = 0) -> TrainingSet:
    """A label that a count, and whether a time is missing, both tell something of; a third is asked later."""
    random = np.random.default_rng(seed)
    count = random.integers(0, 6, rows).astype(np.float32)
    since = random.lognormal(size=rows).astype(np.float32)
    since[random.random(rows) < 0.3] = np.nan
    noise, age, price = random.normal(size=(3, rows)).astype(np.float32)
    noise[random.random(rows) < 0.1] = np.nan
    purchases = random.integers(1, 9, rows).astype(np.float32)
    repeats = np.minimum(count, purchases - 1)
    signal = 0.6 * count + 1.5 * np.isnan(since) - 0.3 * np.nan_to_num(since) + random.normal(size=rows)
    columns = [count, since, np.full(rows, np.nan, np.float32), noise, 30 + 9 * age, repeats, purchases, price]
    return TrainingSet(
        features=FEATURES,
        rows=np.column_stack(columns),
        labels=(signal > 2).astype(np.int64),
        times_us=np.sort(random.integers(0, days * DAY_US, rows)),
        candidates=9000,
        users=random.integers(0, 400, rows),
        later=random.random(rows) < 1 / 3,
    )
