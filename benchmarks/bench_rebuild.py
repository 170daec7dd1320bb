"""How long `encore rebuild` takes after Redis lost everything, and what the API answers meanwhile.

    python benchmarks/bench_rebuild.py [--json result.json] [--events 1000000]

A synthetic shop's history is made, a model trained, the states folded; then the store is emptied and rebuilt, while
another process's API is asked about some of the busiest pairs, ten times a second.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import redis
from machine import this_machine

from data.log.event_log import EventLog
from server.process.server_process import free_port
from server.process.store import Store

DAYS = 180
ASK_S = 0.1
PATIENCE_S = 60.0


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
    for name, found in result.items():
        if name != "setting":
            print(f"{name}: {json.dumps(found)}")
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
        said = subprocess.run(
            [sys.executable, "-m", "server.cli", *command, "--json"], env=environment, check=True, capture_output=True
        )
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    sizes = {"users": args.users, "products": args.products, "days": DAYS, "events-per-day": args.events / DAYS}
    made = encore("generate", *(word for name, size in sizes.items() for word in (f"--{name}", f"{size:g}")))
    encore("features")
    encore("train", "--max-rows", "5000")
    encore("materialize")
    server = subprocess.Popen([sys.executable, "-m", "server.cli", "serve"], env=environment, stderr=subprocess.DEVNULL)
    client = redis.Redis(port=store.port)
    runs = []
    try:
        with _Asking(port, _pairs(home)) as asking:
            asking.await_answer()
            for _ in range(args.repeats):
                client.flushall()
                asking.begin()
                start = time.perf_counter()
                states = encore("rebuild")
                runs.append({"seconds": round(time.perf_counter() - start, 1), "states": states, **asking.end()})
    finally:
        server.terminate()
        server.wait()
    seconds = statistics.median(run["seconds"] for run in runs)
    return {"events_in_log": made["events"], "seconds": seconds, "events_per_second": made["events"] / seconds} | {
        "runs": runs
    }


def _pairs(home: Path) -> list[tuple[str, str]]:
    """A user and a product of some of the log's events."""
    table = pq.read_table(EventLog(home / "log").files()[-1].path, columns=["user_id", "product_id"])
    rows = table.take(list(range(0, table.num_rows, max(1, table.num_rows // 50)))).to_pylist()
    return [(row["user_id"], row["product_id"]) for row in rows]


class _Asking:
    """A thread that asks the API all the while, and what it was told."""

    def __init__(self, port: int, pairs: list[tuple[str, str]]) -> None:
        self._urls = [f"http://127.0.0.1:{port}/predict?user_id={u}&product_id={p}" for u, p in pairs]
        self._answers: list[tuple[str, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def await_answer(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not any(kind == "warm" for kind, _ in self._answers):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the API gave no warm answer within {PATIENCE_S:g} s: {self._answers[-3:]}")
            time.sleep(0.05)

    def begin(self) -> None:
        self._answers = []

    def end(self) -> dict[str, Any]:
        """Answers by kind: those of entities not folded yet are marked as cold starts."""
        answers = self._answers
        waits = sorted(wait for _, wait in answers)
        p99 = waits[min(len(waits) - 1, int(len(waits) * 0.99))]
        kinds = dict(Counter(kind for kind, _ in answers))
        return {"answers": kinds, "p50_ms": round(statistics.median(waits) * 1e3, 1), "p99_ms": round(p99 * 1e3, 1)}

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(ASK_S):
            number += 1
            began = time.perf_counter()
            try:
                with urllib.request.urlopen(self._urls[number % len(self._urls)], timeout=10) as answer:
                    kind = "cold start" if json.load(answer)["cold_start"] else "warm"
            except urllib.error.HTTPError as error:
                with error:
                    kind = str(error.code)
            except OSError as error:
                kind = type(error).__name__
            self._answers.append((kind, time.perf_counter() - began))


if __name__ == "__main__":
    main()
