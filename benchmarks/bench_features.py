"""Features at points in time: Encore's batch beside Featuretools in one run; and the worker's fold and the read alone.

uv run python benchmarks/bench_features.py --json features.json
uv run python benchmarks/bench_features.py --growth 2000000 4000000 8000000
"""

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from data.event import EVENT_COLUMNS
from data.event_log import EventLog
from features.compiler import compile_plan
from features.engine import DuckDBEngine
from features.entities import ENTITIES
from features.oracle import Oracle
from features.plan import Plan
from features.state import Algebra, Fact, State
from features.values import EntityValues, RequestValues

START_US = 1_750_000_000_000_000
DAYS = 90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the training set (user, product, time)")
    parser.add_argument("--oracle-rows", type=int, default=300, help="of these, by Featuretools too; 0 for none")
    parser.add_argument("--repeat", type=int, default=3, help="runs of batch, fold and read; medians are given")
    parser.add_argument("--growth", type=int, nargs="*", default=[], help="batch again with so many events each")
    parser.add_argument("--batch-only", action="store_true", help="only the batch, once, as JSON on the last line")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")

    if args.batch_only:
        print(json.dumps(_batch(args)))
        return
    runs = [_in_own_process(args, args.events) for _ in range(args.repeat)]
    seconds = statistics.median(run["seconds"] for run in runs)
    plan = compile_plan()
    result: dict[str, Any] = {
        "setting": {
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "events": args.events,
            "users": args.users,
            "products": args.products,
            "rows": args.rows,
            "features": len(plan.names) - len(plan.request),
            "repeat": args.repeat,
        },
        "batch": {
            "seconds": round(seconds, 2),
            "rows_per_second": round(args.rows / seconds),
            "peak_memory_mb": max(run["peak_memory_mb"] for run in runs),
        },
        "fold": _fold(plan, args.repeat),
        "read": _read(plan),
    }
    if args.oracle_rows:
        oracle = _oracle(plan, args)
        result["featuretools"] = oracle
        result["ratio"] = round(result["batch"]["rows_per_second"] / oracle["rows_per_second"])
    if args.growth:
        result["growth"] = [_in_own_process(args, events) for events in args.growth]
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def _in_own_process(args: argparse.Namespace, events: int) -> dict[str, Any]:
    """The batch in a process of its own, so that its peak of memory is its own too."""
    flags = {"--events": events, "--users": args.users, "--products": args.products, "--rows": args.rows}
    command = [sys.executable, __file__, "--batch-only", *(str(part) for flag in flags.items() for part in flag)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(f"batch over {events:,} events: {done.stdout.splitlines()[-1]}", file=sys.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _events(args: argparse.Namespace) -> pa.Table:
    rng = np.random.default_rng(0)
    count = args.events
    nothing = pa.nulls(count, pa.string())
    users, products = rng.integers(0, args.users, count), (args.products * rng.random(count) ** 2).astype(int)
    return pa.table(
        {
            "event_id": pa.array([f"e{number}" for number in range(count)]),
            "event_type": pa.array(
                rng.choice(["view", "add_to_cart", "purchase", "remove_from_cart"], count, p=[0.75, 0.12, 0.1, 0.03])
            ),
            "user_id": pa.array([f"u{user}" for user in users]),
            "product_id": pa.array([f"p{product}" for product in products]),
            "amount": pa.array(np.round(rng.random(count) * 100, 2)),
            "quantity": pa.array(rng.integers(1, 5, count)),
            "timestamp": pa.array(
                np.sort(rng.integers(0, DAYS * 86_400_000_000, count)) + START_US, pa.timestamp("us", tz="UTC")
            ),
            "session_id": nothing,
            "category": nothing,
            "metadata": nothing,
        }
    ).cast(EVENT_COLUMNS)


def _spine(events: pa.Table, rows: int) -> pd.DataFrame:
    """Rows at the events' own users, products and times."""
    places = np.random.default_rng(1).choice(events.num_rows, rows, replace=rows > events.num_rows)
    spine: pd.DataFrame = events.select(["user_id", "product_id"]).take(places).to_pandas()
    return spine.assign(time_us=events["timestamp"].cast(pa.int64()).take(places).to_numpy())


def _batch(args: argparse.Namespace) -> dict[str, Any]:
    plan = compile_plan()
    events = _events(args)
    spine = _spine(events, args.rows)
    with tempfile.TemporaryDirectory() as folder:
        log = EventLog(Path(folder))
        log.write_history("bench", [events])
        del events
        began = time.perf_counter()
        with DuckDBEngine(log, memory="2GB") as engine:
            for entity in ENTITIES:
                engine.values(plan, entity.name, spine, [f.name for f in plan.of(entity.name).features])
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"events": args.events, "rows": args.rows, "seconds": round(seconds, 2), "peak_memory_mb": peak}


def _oracle(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Featuretools on some of the same rows, each at its own cutoff, as a training set needs them."""
    events = _events(args)
    spine = _spine(events, args.oracle_rows)
    oracle = Oracle(plan, events.to_pandas())
    done = 0
    began = time.perf_counter()
    for row in spine.itertuples():
        ids = {"user": (row.user_id,), "product": (row.product_id,), "user_product": (row.product_id, row.user_id)}
        for entity in ENTITIES:
            oracle.values(entity.name, [ids[entity.name]], int(row.time_us))
        done += 1
        if time.perf_counter() - began > 300:
            break  # five minutes tell enough
    seconds = time.perf_counter() - began
    return {"rows": done, "seconds": round(seconds, 1), "rows_per_second": round(done / seconds, 3)}


def _fold(plan: Plan, repeat: int) -> dict[str, Any]:
    """Decoded events folded into states of all three entities, by batches as the worker sees them, and encoded."""
    rng = np.random.default_rng(2)
    count, batch = 100_000, 2_000
    kinds = rng.choice(["view", "add_to_cart", "purchase"], count, p=[0.78, 0.12, 0.1])
    users, products = rng.integers(0, 20_000, count), (2_000 * rng.random(count) ** 2).astype(int)
    times = np.sort(rng.integers(0, 30 * 86_400_000_000, count)) + START_US
    facts = [
        Fact(str(kind), f"u{user}", f"p{product}", int(at), 9_990_000, 1, f"e{number}")
        for number, (kind, user, product, at) in enumerate(zip(kinds, users, products, times, strict=True))
    ]
    algebras = {entity.entity: Algebra(entity) for entity in plan.entities}

    def touched(fact: Fact) -> tuple[tuple[str, ...], ...]:
        return ("user_product", fact.product_id, fact.user_id), ("user", fact.user_id), ("product", fact.product_id)

    def fold() -> tuple[float, float]:
        """Seconds of the folding alone, and of reading the states' bytes, folding and writing them again."""
        kept: dict[tuple[str, ...], bytes] = {}
        folding = everything = 0.0
        for start in range(0, count, batch):
            part = [(fact, touched(fact)) for fact in facts[start : start + batch]]
            began = time.perf_counter()
            held: dict[tuple[str, ...], State] = {}
            for key in {key for _, keys in part for key in keys}:
                algebra = algebras[key[0]]
                held[key] = algebra.decode(kept[key]) if key in kept else algebra.empty()
            read = time.perf_counter()
            for fact, keys in part:
                for key in keys:
                    algebras[key[0]].update(held[key], fact)
            folded = time.perf_counter()
            kept |= {key: algebras[key[0]].encode(state) for key, state in held.items()}
            folding += folded - read
            everything += time.perf_counter() - began
        return folding, everything

    # As the worker does: what is loaded stays out of the collector's way.
    gc.collect()
    gc.freeze()
    runs = [fold() for _ in range(repeat)]
    gc.unfreeze()
    folding, everything = (statistics.median(run[place] for run in runs) for place in (0, 1))
    return {
        "events": count,
        "batch": batch,
        "events_per_second": round(count / folding),
        "events_per_second_with_bytes_read_and_written": round(count / everything),
    }


def _read(plan: Plan) -> dict[str, Any]:
    """One user of 200 events, one product of 5,000 and one pair of 3, from bytes to all features."""
    sizes = {"user": 200, "product": 5_000, "user_product": 3}
    rng = np.random.default_rng(3)
    values = {entity.entity: EntityValues(entity) for entity in plan.entities}
    request = RequestValues(plan)
    stored = {}
    for entity, count in sizes.items():
        algebra = values[entity].algebra
        state = algebra.empty()
        for at in np.sort(rng.integers(0, 30 * 86_400_000_000, count)):
            kind = str(rng.choice(["view", "add_to_cart", "purchase"], p=[0.78, 0.12, 0.1]))
            algebra.update(state, Fact(kind, "u", "p", int(at) + START_US, 9_990_000, 1, "e"))
        stored[entity] = algebra.encode(state)
    now_us = START_US + 31 * 86_400_000_000
    taken = []
    for _ in range(5_000):
        began = time.perf_counter()
        found: dict[str, Any] = {}
        for entity, data in stored.items():
            reader = values[entity]
            found |= zip(reader.names, reader.get(reader.algebra.decode(data), now_us), strict=True)
        request.get(found, 12.5, now_us)
        taken.append(time.perf_counter() - began)
    return {
        "bytes": {entity: len(data) for entity, data in stored.items()},
        "features": len(plan.names),
        "median_us": round(statistics.median(taken) * 1e6, 1),
    }


if __name__ == "__main__":
    main()
