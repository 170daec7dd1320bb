"""Measure the cost of many workers that fold events of one product: conflicts, events per second, processor time.

    .venv/bin/python benchmarks/bench_hot_keys.py --writers 1 4 16 --json hot_keys.json

Writers are processes that, like workers, fold micro-batches of their own partition's users into one embedded store, all
at once. `apart`: each has its own products and categories, so no state is shared. `shared`: all have one catalogue,
as in a shop. `hot`: additionally, half of all events are of one product. On few cores many writers take turns, so the
time between reading a state and writing it is longer than with a core for each: conflicts are more frequent.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import redis
from machine import this_machine

from data.default_shop import SHOP, ShopEvent
from data.units import HOUR_US, from_micros
from features.facts import fact_maker
from features.plan.cache import load_plan
from features.state.fold import Fold, Sourced
from features.state.online.states import OnlineStates
from server.process.server_process import free_port
from server.process.store import Store

TOPIC = b"bench-hot-keys-1"
START_US = 1_760_000_000_000_000
SCENES = ("apart", "shared", "hot")
KINDS = ("view", "view", "view", "view", "add_to_cart", "purchase")


def main() -> None:
    args = _arguments()
    if args.writer is not None:
        print(json.dumps(write(args)), flush=True)
        return
    result: dict[str, Any] = {"setting": {**this_machine(), **_options(args)}, "measured": {}}
    print(json.dumps(result["setting"], indent=2))
    with tempfile.TemporaryDirectory() as folder, Store(free_port(), Path(folder) / "store") as store:
        load_plan(Path(folder) / "plan.json")
        for writers in args.writers:
            for scene in SCENES:
                runs = [run(args, Path(folder), store.port, writers, scene) for _ in range(args.repeat)]
                middle = sorted(runs, key=lambda measured: measured["events_per_second"])[len(runs) // 2]
                result["measured"][f"{writers} {scene}"] = middle
                print(f"{writers:>2} writers, {scene:<6} {json.dumps(middle)}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def run(args: argparse.Namespace, folder: Path, port: int, writers: int, scene: str) -> dict[str, Any]:
    """Let `writers` processes fold at once, into an empty store."""
    client = redis.Redis(port=port)
    client.flushall()
    command = [sys.executable, __file__, "--folder", str(folder), "--port", str(port), "--scene", scene]
    command += ["--events", str(args.events // writers), "--batch", str(args.batch), "--products", str(args.products)]
    processes = [
        subprocess.Popen([*command, "--writer", str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(writers)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    before = client.info("cpu")
    began = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    reports = [json.loads(process.communicate(timeout=900)[0].splitlines()[-1]) for process in processes]
    seconds = time.perf_counter() - began
    after = client.info("cpu")
    events = sum(report["events"] for report in reports)
    redis_s = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
    return {
        "events_per_second": round(events / seconds),
        "worker_us_per_event": round(sum(report["cpu_s"] for report in reports) / events * 1e6, 1),
        "redis_us_per_event": round(redis_s / events * 1e6, 1),
        "conflicts_per_1000_events": round(sum(report["conflicts"] for report in reports) / events * 1e3, 2),
        "states_written": sum(report["states"] for report in reports),
        "slowest_batch_s": max(report["slowest_s"] for report in reports),
        "median_batch_s": median(report["median_s"] for report in reports),
        "failed_batches": sum(report["failed"] for report in reports),
    }


def write(args: argparse.Namespace) -> dict[str, Any]:
    """Fold this writer's events in batches, once a line arrives on stdin."""
    from data.errors import UnavailableError  # noqa: PLC0415
    from server.process.collector import settle_collector  # noqa: PLC0415

    events = facts(args)
    fold = Fold(load_plan(args.folder / "plan.json"), OnlineStates(redis.Redis(port=args.port)), TOPIC)
    settle_collector()
    print("ready", flush=True)
    sys.stdin.readline()
    cpu_s, times, conflicts, states, failed = time.process_time(), list[float](), 0, 0, 0
    for start in range(0, len(events), args.batch):
        began = time.perf_counter()
        while True:
            try:
                counts = fold.apply(events[start : start + args.batch])
            except UnavailableError:  # too many conflicts: retry, as a worker does
                failed += 1
                continue
            break
        times.append(round(time.perf_counter() - began, 3))
        conflicts += counts.conflicts
        states += counts.states
    return {
        "events": len(events),
        "cpu_s": time.process_time() - cpu_s,
        "conflicts": conflicts,
        "states": states,
        "slowest_s": max(times),
        "median_s": median(times),
        "failed": failed,
    }


def facts(args: argparse.Namespace) -> list[Sourced]:
    """Return this writer's events: of its own users, in its own partition."""
    chance = random.Random(args.writer)
    make = fact_maker(SHOP)
    suffix = f"-{args.writer}" if args.scene == "apart" else ""
    events = []
    for offset in range(args.events):
        number = chance.randrange(args.products)
        hot = args.scene == "hot" and chance.random() < 0.5
        event = ShopEvent(
            f"e{args.writer}-{offset}",
            chance.choice(KINDS),
            f"u{args.writer}-{chance.randrange(2_000)}",
            "hot" if hot else f"p{number}{suffix}",
            12.5,
            from_micros(START_US + offset * HOUR_US // 1_000),
            category=f"c{0 if hot else number % 20}{suffix}",
        )
        events.append(Sourced(make(event), args.writer, offset))
    return events


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ("events", "batch", "products", "writers", "repeat")}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--events", type=int, default=160_000, help="of all writers together (default %(default)s)")
    parser.add_argument("--batch", type=int, default=2_000, help="events folded at once (default %(default)s)")
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--writer", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--scene", choices=SCENES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
