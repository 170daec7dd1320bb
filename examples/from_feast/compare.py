"""Ask both Feast repositories for the same features: at midnight they agree, later only one of them is up to date.

python compare.py     after the commands of README.md
"""

from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import FeatureStore
from orders import BEGIN, DAYS, orders

FOLDER = Path(__file__).parent
BEFORE = {"orders_7d": "customer_daily:orders_7d", "spend_7d": "customer_daily:spend_7d"}
NOW = {
    "orders_7d": "customer_features:customer_purchase_count_7d",
    "spend_7d": "customer_features:customer_purchase_sum_amount_7d",
}
INSTANT = timedelta(microseconds=1)
"""A nightly job's day ends before midnight, an event of midnight is Encore's at midnight."""


def ask(store: FeatureStore, features: dict[str, str], rows: pd.DataFrame) -> pd.DataFrame:
    """Return the features as of each row's time, by customer and time."""
    found: pd.DataFrame = store.get_historical_features(entity_df=rows, features=list(features.values())).to_df()
    short = {name.split(":")[1]: called for called, name in features.items()}
    found = found.rename(columns=short).sort_values(["customer_id", "event_timestamp"])
    return found.reset_index(drop=True)


def differing(left: pd.DataFrame, right: pd.DataFrame) -> int:
    """Return in how many rows a feature differs by more than a rounding of floats."""
    apart = (left[list(BEFORE)].astype(float) - right[list(BEFORE)].astype(float)).abs() > 1e-6
    return int(apart.any(axis=1).sum())


def main() -> dict[str, int]:
    """Compare at midnight and at noon; return how many rows there were, and how many differ."""
    plain = FeatureStore(repo_path=str(FOLDER / "plain_repo"))
    encore = FeatureStore(fs_yaml_file=FOLDER / "shop" / ".encore" / "feast" / "feature_store.yaml")
    bought = orders()
    customers = pd.DataFrame({"customer_id": sorted(bought["customer_id"].unique())})
    midnights = pd.DataFrame({"event_timestamp": [BEGIN + timedelta(days=day) for day in range(14, DAYS)]})
    rows = customers.merge(midnights, how="cross")
    told = {"rows": len(rows)}
    for what, later in (("midnight", timedelta(0)), ("noon", timedelta(hours=12))):
        old = ask(plain, BEFORE, rows.assign(event_timestamp=rows["event_timestamp"] + later))
        new = ask(encore, NOW, rows.assign(event_timestamp=rows["event_timestamp"] + later - INSTANT))
        told[f"differ at {what}"] = differing(old, new)
    return told


if __name__ == "__main__":
    print(main())
