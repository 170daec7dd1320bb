"""Compare the memory in a capacity plan with the memory of stores of several sizes.

    .venv/bin/python benchmarks/bench_capacity.py --users 10000 40000 160000 --json capacity.json

A store is filled with the states of a shop's events, folded as by a worker. The plan is that of `encore plan` for these
states, with the shipped unit costs and without headroom. The memory per state should not depend on the number of
states.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import redis
from machine import this_machine

from data.clock import wall_clock
from data.default_shop import ShopEvent
from data.shop.shop import Shop, ShopConfig
from features.facts import Sourced, fact_maker
from features.plan.cache import load_plan
from features.state.fold import Fold
from features.state.online.states import OnlineStates
from server.capacity.capacity_plan import plan_capacity
from server.capacity.load import Load, Terms
from server.capacity.unit_costs import unit_costs
from server.process.server_process import free_port
from server.process.store import Store
from server.settings import read_settings

EVENTS_A_USER = 5
DAYS = 120
BATCH = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 40_000, 160_000])
    parser.add_argument("--json", type=Path, help="also write the result here")
    args = parser.parse_args()
    result = {"setting": this_machine(), "stores": [filled(users) for users in args.users]}
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def filled(users: int) -> dict[str, Any]:
    """Fill a store with the states of `users` users; return its memory and that of the plan."""
    with tempfile.TemporaryDirectory() as folder, Store(free_port(), Path(folder) / "store") as store:
        plan = load_plan(Path(folder) / "plan.json")
        client = redis.Redis(port=store.port)
        states = OnlineStates(client)
        fold, make = Fold(plan, states, b"bench-capacity-1"), fact_maker(plan.schema)
        a_day = EVENTS_A_USER * users / DAYS
        shop = Shop(ShopConfig(wall_clock(), users, max(200, users // 10), DAYS, a_day))
        rows = (row for table in shop.history() for row in table.to_pylist())
        events = (ShopEvent(**row | {"metadata": None}) for row in rows)
        batch, count = list[Sourced](), 0
        for event in events:
            batch.append(Sourced(make(event), 0, count))
            count += 1
            if len(batch) == BATCH:
                fold.apply(batch)
                batch = []
        fold.apply(batch)
        counts: dict[str, float] = {entity: float(number) for entity, number in states.counts().items()}
        memory = client.info("memory")
        used_gb = (memory["used_memory"] - memory["used_memory_startup"]) / 1e9
        client.close()
        costs = unit_costs(read_settings(home=Path(folder)))
        load = Load.of(costs, events_per_second=0, requests_per_second=0, states=counts)
        planned_gb = sum(load.states[name] * cost.bytes for name, cost in costs.states.items()) / 1e9
        plan_gb = plan_capacity(load, costs, Terms(headroom=0)).amount("Redis memory")
    return {
        "users": users,
        "events": count,
        "states": counts,
        "measured_mb": round(used_gb * 1e3, 1),
        "planned_mb": round(planned_gb * 1e3, 1),
        "planned_over_measured": round(planned_gb / used_gb, 2),
        "plan_says_gb": round(plan_gb, 2),
    }


if __name__ == "__main__":
    main()
