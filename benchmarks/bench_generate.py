"""Measure how fast one core generates the synthetic shop's events: its history as tables, and live events for Kafka.

.venv/bin/python benchmarks/bench_generate.py --json generate.json
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from data.clock import wall_clock
from data.event import encode_event
from data.shop.live import live_events
from data.shop.shop import Shop, ShopConfig

END_US = 1_760_000_000_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--events-per-day", type=float, default=20_000)
    parser.add_argument("--live-events", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    config = ShopConfig(
        END_US, users=args.users, products=args.products, days=args.days, events_per_day=args.events_per_day
    )
    shop = Shop(config)
    live = live_events(shop, wall_clock)
    next(live)

    def history() -> int:
        return sum(table.num_rows for table in shop.history())

    def encoded() -> int:
        return sum(len(encode_event(event)) > 0 for event in islice(live, args.live_events))

    result = {
        "setting": {
            "machine": platform.machine(),
            "python": platform.python_version(),
            "shop": {"users": config.users, "products": config.products, "days": config.days},
            "repeat": args.repeat,
            "clock": "CPU seconds of the process",
        },
        "history_events": history(),
        "history_events_per_second": _rates(history, args.repeat),
        "live_events_per_second": _rates(encoded, args.repeat),
    }
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def _rates(make: Callable[[], int], repeat: int) -> dict[str, int]:
    rates = []
    for _ in range(repeat):
        start = time.process_time()
        rates.append(make() / (time.process_time() - start))
    return {"median": round(statistics.median(rates)), "least": round(min(rates)), "most": round(max(rates))}


if __name__ == "__main__":
    main()
