"""Measure how long `encore rebuild` takes after Redis lost everything, and what the API answers meanwhile.

    python benchmarks/bench_rebuild.py [--json result.json] [--events 1000000]

It generates a synthetic shop's history, trains a model and folds the states. Then the store is emptied and rebuilt,
while an API in another process gets ten questions a second about some of the busiest pairs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis
from asking import Asking, pairs_of, summary
from machine import this_machine

from server.process.server_process import free_port
from server.process.store import Store

DAYS = 180
ASK_S = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="in the log, about (default %(default)s)")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the result here")
    args = parser.parse_args()
    setting = {
        **this_machine(),
        **{name: getattr(args, name) for name in ("events", "users", "products", "repeats")},
    }
    print(json.dumps(setting, indent=2))
    with tempfile.TemporaryDirectory() as folder, Store(free_port(), Path(folder) / "store") as store:
        result = {"setting": setting, **measure(args, Path(folder) / "home", store)}
    for name, measured in result.items():
        if name != "setting":
            print(f"{name}: {json.dumps(measured)}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(args: argparse.Namespace, home: Path, store: Store) -> dict[str, Any]:
    port = free_port()
    environment = os.environ | {
        "ENCORE_HOME": str(home),
        "REDIS_HOST": store.host,
        "REDIS_PORT": str(store.port),
        "API_PORT": str(port),
        "ENCORE_PREDICTIONS": "off",
    }

    def encore(*command: str) -> dict[str, Any]:
        process = subprocess.run(
            [sys.executable, "-m", "server.cli", *command, "--json"], env=environment, check=True, capture_output=True
        )
        reply: dict[str, Any] = json.loads(process.stdout)
        return reply

    sizes = {"users": args.users, "products": args.products, "days": DAYS, "events-per-day": args.events / DAYS}
    made = encore("generate", *(word for name, size in sizes.items() for word in (f"--{name}", f"{size:g}")))
    encore("features")
    encore("train", "--max-rows", "5000")
    encore("materialize")
    server = subprocess.Popen([sys.executable, "-m", "server.cli", "serve"], env=environment, stderr=subprocess.DEVNULL)
    client = redis.Redis(port=store.port)
    runs = []
    try:
        with Asking(port, pairs_of(home, 50), ASK_S) as asking:
            asking.await_answer()
            for _ in range(args.repeats):
                client.flushall()
                asking.begin()
                start = time.perf_counter()
                states = encore("rebuild")
                runs.append(
                    {"seconds": round(time.perf_counter() - start, 1), "states": states, **summary(asking.end())}
                )
    finally:
        server.terminate()
        server.wait()
    seconds = statistics.median(run["seconds"] for run in runs)
    return {"events_in_log": made["events"], "seconds": seconds, "events_per_second": made["events"] / seconds} | {
        "runs": runs
    }


if __name__ == "__main__":
    main()
