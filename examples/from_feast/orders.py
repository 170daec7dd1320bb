"""A shop that runs a plain Feast repository: its orders, and the features that a nightly job makes of them.

python orders.py     writes orders.csv and plain_repo/data/customer_daily.parquet, always the same
"""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent
BEGIN, DAYS = datetime(2026, 1, 1, tzinfo=UTC), 40


def orders() -> pd.DataFrame:
    """Orders of 60 customers, each at a pace of their own."""
    dice = random.Random(20260101)  # noqa: S311 - an invented shop
    rows = []
    for customer in range(60):
        at = BEGIN + timedelta(hours=dice.uniform(0, 200))
        while at < BEGIN + timedelta(days=DAYS):
            cents = dice.randrange(500, 9000)
            rows.append((at.replace(microsecond=0), f"c{customer:03d}", f"p{dice.randrange(25):02d}", cents / 100))
            at += timedelta(hours=dice.expovariate(1 / (30 + 4 * customer)))
    frame = pd.DataFrame(sorted(rows), columns=["ordered_at", "customer_id", "product_id", "amount"])
    frame.insert(0, "order_id", [f"o{number:05d}" for number in range(len(frame))])
    return frame


def nightly(bought: pd.DataFrame) -> pd.DataFrame:
    """What the job writes each midnight: of every customer the orders and the spend of the seven days that ended."""
    made = []
    for day in range(1, DAYS + 1):
        midnight = BEGIN + timedelta(days=day)
        known = bought[bought["ordered_at"] < midnight]
        week = known[known["ordered_at"] >= midnight - timedelta(days=7)]
        of_week = week.groupby("customer_id")["amount"].agg(orders_7d="count", spend_7d="sum")
        daily = of_week.reindex(sorted(known["customer_id"].unique()), fill_value=0).reset_index()
        made.append(daily.assign(event_timestamp=midnight))
    return pd.concat(made, ignore_index=True)


if __name__ == "__main__":
    bought = orders()
    bought.assign(ordered_at=bought["ordered_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_csv(
        FOLDER / "orders.csv", index=False
    )
    data = FOLDER / "plain_repo" / "data"
    data.mkdir(exist_ok=True)
    nightly(bought).to_parquet(data / "customer_daily.parquet")
    print(f"{len(bought):,} orders")
