"""Measure the cost of each kind of aggregate: bytes of a user's state, time to fold an event into it and to read it.

.venv/bin/python benchmarks/bench_kinds.py --json kinds.json

Each row has the default definitions and the named primitive for the user; the first row is the default alone. Times are
processor time, the minimum of several runs: a state is decoded, updated and encoded; or it is decoded and read.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import featuretools as ft
import pyarrow as pa

from data.default_shop import SHOP, ShopEvent
from data.shop.shop import Shop, ShopConfig
from features import primitives as own
from features.definitions import WINDOWS, define
from features.facts import Fact, fact_maker
from features.plan.compiler import compile_features
from features.plan.cost import costs
from features.plan.entity_set import entity_set
from features.plan.plan import Plan
from features.state.algebra import Algebra
from features.state.values import EntityValues

END_US = 1_760_000_000_000_000

WANTED: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]] = {
    "Max over 30d": (("amount",), ft.primitives.Max, {"use_previous": "30 days"}),
    "NthLast(5)": (("amount", "timestamp"), own.NthLast(5), {}),
    "NthLast(50)": (("amount", "timestamp"), own.NthLast(50), {}),
    "TimeSinceNthLast(5)": (("timestamp",), own.TimeSinceNthLast(5), {}),
    "NumUniqueUpTo(64) of products over 7d": (("product_id",), own.NumUniqueUpTo(64), {"use_previous": "7 days"}),
    "NumUniqueUpTo(64) of categories over 30d": (("category",), own.NumUniqueUpTo(64), {"use_previous": "30 days"}),
    "DecayedSum(7 days)": (("amount", "timestamp"), own.DecayedSum("7 days"), {}),
    "SessionCount(30 minutes) over 30d": (("timestamp",), own.SessionCount("30 minutes", WINDOWS["30d"]), {}),
    "TopShare(1) of categories": (("category",), own.TopShare(1), {}),
    "TopShare(1) of categories over 30d": (("category",), own.TopShare(1), {"use_previous": "30 days"}),
    "Quantile(0.5), 2 digits": (("amount",), own.Quantile(0.5), {}),
    "Quantile(0.5), 3 digits": (("amount",), own.Quantile(0.5, digits=3), {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    facts = _facts(args)
    rows = []
    for name, plan in _plans().items():
        rows.append({"kind": name, **_measure(plan, facts, args.repeat)})
        base, row = rows[0], rows[-1]
        print(
            f"{name:42} {row['median_bytes']:6} bytes ({row['median_bytes'] - base['median_bytes']:+5}), 99 %: "
            f"{row['p99_bytes']:6} ({row['p99_bytes'] - base['p99_bytes']:+6}), at most {row['most_bytes']:9,}, fold "
            f"{row['fold_us']:5.1f} µs ({row['fold_us'] - base['fold_us']:+5.1f}), read {row['read_us']:5.1f} µs "
            f"({row['read_us'] - base['read_us']:+5.1f})",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps({"events": len(facts), "rows": rows}, indent=2) + "\n")


def _plans() -> dict[str, Plan]:
    shop = entity_set()
    event = shop["events"].ww
    plans = {"the default definitions": compile_features(define(shop))}
    for name, (columns, primitive, options) in WANTED.items():
        base = [ft.Feature(event[column]) for column in columns]
        feature = ft.Feature(base, parent_dataframe_name="users", primitive=primitive, **options)
        plans[name] = compile_features([*define(shop), feature.rename("wanted")])
    return plans


def _facts(args: argparse.Namespace) -> list[Fact]:
    per_day = args.events / args.days * 1.6
    shop = Shop(ShopConfig(END_US, users=args.users, products=200, days=args.days, events_per_day=per_day))
    rows = pa.concat_tables(shop.history()).to_pylist()[-args.events :]
    names = set(ShopEvent.__struct_fields__) - {"metadata"}
    fact_of = fact_maker(SHOP)
    return [fact_of(ShopEvent(**{name: value for name, value in row.items() if name in names})) for row in rows]


def _measure(plan: Plan, facts: Sequence[Fact], repeat: int) -> dict[str, Any]:
    algebra, values = Algebra(plan.of("user")), EntityValues(plan.of("user"))
    folds, reads = [], []
    states: dict[str, bytes] = {}
    for _ in range(repeat):
        states.clear()
        start = time.process_time()
        for fact in facts:
            before = states.get(fact.user_id)
            state = algebra.decode(before) if before else algebra.empty()
            algebra.update(state, fact)
            states[fact.user_id] = algebra.encode(state)
        folds.append((time.process_time() - start) / len(facts) * 1e6)
        start = time.process_time()
        for data in states.values():
            values.get(algebra.decode(data), END_US)
        reads.append((time.process_time() - start) / len(states) * 1e6)
    sizes = [len(data) for data in states.values()]
    return {
        "median_bytes": round(statistics.median(sizes)),
        "p99_bytes": round(statistics.quantiles(sizes, n=100)[98]),
        "most_bytes": sum(cost.most_bytes for cost in costs(plan) if cost.entity == "user"),
        "fold_us": round(min(folds), 2),
        "read_us": round(min(reads), 2),
    }


if __name__ == "__main__":
    main()
