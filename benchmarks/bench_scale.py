"""Measure the cost of a long history: a day's partials, states from them or the whole log, training rows, memory.

    python benchmarks/bench_scale.py [--json result.json] [--events 1000000 10000000]

For each number of events a log is written as workers of a topic would write it, day by day at the same rate, a fiftieth
of the events days late. Each step is a separate process, whose memory is measured. States from partials and from the
whole log are compared byte by byte if both are made. `--whole-states-up-to` and `--whole-rows-up-to` skip the steps
that read all of a longer log.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from machine import this_machine

from data.default_shop import SHOP
from data.log.event_log import EventLog
from data.log.event_table import columns_of, declared
from data.log.sources import topic_source
from data.units import DAY_US
from features.batch.backfill import Backfilled
from features.batch.engine import DuckDBEngine
from features.partials.making import make_partials
from features.partials.merging import Merged
from features.partials.partials import Partials
from features.plan.cache import load_plan
from features.plan.plan import Plan
from model.examples.spine import build_spine
from model.targets import TARGETS

START_US = 1_700_006_400_000_000
"""Midnight of a day in November 2023."""

SOURCE = topic_source(b"scale-of-history")
PARTITIONS = 4

_EVENTS = """
    SELECT 'e' || n AS event_id,
        CASE WHEN hash(n, 1) % 100 < 72 THEN 'view' WHEN hash(n, 1) % 100 < 88 THEN 'add_to_cart'
             WHEN hash(n, 1) % 100 < 98 THEN 'purchase' ELSE 'return' END AS event_type,
        'u' || CAST(floor({users} * pow(hash(n, 2) % 1000000 / 1e6, 2)) AS BIGINT) AS user_id,
        'p' || CAST(floor({products} * pow(hash(n, 3) % 1000000 / 1e6, 3)) AS BIGINT) AS product_id,
        round(1 + hash(n, 4) % 20000 / 100, 2) AS amount,
        1 + CAST(hash(n, 5) % 3 AS BIGINT) AS quantity,
        make_timestamptz(at_us - if(hash(n, 6) % 50 = 0, CAST(1 + hash(n, 7) % 5 AS BIGINT) * {day}, 0)) AS timestamp,
        'c' || CAST(floor({products} * pow(hash(n, 3) % 1000000 / 1e6, 3)) AS BIGINT) % 12 AS category,
        make_timestamptz(at_us) AS arrived, hash(user_id) % {partitions} AS number
    FROM (SELECT range AS n, {start} + (range - {first}) * ({day} // {pace}) AS at_us FROM range({first}, {stop}))
    ORDER BY n
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=float, nargs="+", default=[1e6], help="in the log (default %(default)s)")
    parser.add_argument("--pace", type=int, default=100_000, help="events a day (default %(default)s)")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--products", type=int, default=5_000)
    parser.add_argument("--rows", type=int, default=100_000, help="training rows (default %(default)s)")
    parser.add_argument("--memory", default="3GB", help="of DuckDB (default %(default)s)")
    longest = "events of the longest log that is read whole (default %(default)s)"
    parser.add_argument("--whole-states-up-to", type=float, default=1e7, metavar="EVENTS", help=longest)
    parser.add_argument("--whole-rows-up-to", type=float, default=1e7, metavar="EVENTS", help=longest)
    parser.add_argument("--folder", type=Path, help="where logs are written, one after the other (default: temporary)")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(STEPS[args.step](args)))
        return
    names = ("pace", "users", "products", "rows", "memory")
    result: dict[str, Any] = {"setting": {**this_machine(), **{name: getattr(args, name) for name in names}}}
    print(json.dumps(result["setting"], indent=2))
    result["logs"] = [measure(args, int(events)) for events in args.events]
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(args: argparse.Namespace, events: int) -> dict[str, Any]:
    """Measure every step over a log of `events` events."""
    result: dict[str, Any] = {"events": events}
    longest = {"whole_states": args.whole_states_up_to, "whole_rows": args.whole_rows_up_to}
    steps = [step for step in STEPS if events <= longest.get(step, events)]
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for step in steps:
            result[step] = run(args, step, events, Path(folder))
            print(f"{events:,} events, {step}: {json.dumps(result[step])}", flush=True)
    if "whole_states" in result:
        result["equal"] = result["states"]["hash"] == result["whole_states"]["hash"]
        print(f"{events:,} events, equal: {result['equal']}", flush=True)
    return result


def run(args: argparse.Namespace, step: str, events: int, folder: Path) -> dict[str, Any]:
    """Run a step in a separate process; return its result, with its time, processor time and peak memory."""
    command = [sys.executable, "-W", "ignore", __file__, "--step", step, "--events", str(events)]
    for name in ("pace", "users", "products", "rows", "memory"):
        command += [f"--{name}", str(getattr(args, name))]
    begun = time.perf_counter()
    with subprocess.Popen([*command, "--folder", str(folder)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{step} failed")
    return {
        "process_seconds": round(time.perf_counter() - begun, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "most_memory_mb": usage.ru_maxrss // 1024,
        **json.loads(output),
    }


def write(args: argparse.Namespace) -> dict[str, Any]:
    """Write the log, and compact its files."""
    begun = time.perf_counter()
    log, total = _log(args), int(args.events[0])
    for day in range(-(-total // args.pace)):
        _append(args, log, day, min(total, (day + 1) * args.pace))
        if day % 16 == 15:
            log.compact(SOURCE, grace_s=0)
    for _ in range(2):
        log.compact(SOURCE, grace_s=-1)
    return {"seconds": _since(begun), "files": len(log.listing()), "log_mb": _mb(log.storage.bytes())}


def partials(args: argparse.Namespace) -> dict[str, Any]:
    """Make all partials."""
    log, plan = _log(args), _plan(args)
    begun = time.perf_counter()
    made = make_partials(Partials(log), plan).made
    return {"seconds": _since(begun), "made": made, "partials_mb": _mb(Partials(log).bytes())}


def day(args: argparse.Namespace) -> dict[str, Any]:
    """Append three more days, and make the partials after each."""
    log, plan, seconds, busy = _log(args), _plan(args), [], []
    ends = sum(end + 1 for end in log.ends(SOURCE).values())
    for number in range(3):
        first = -(-ends // args.pace) + number
        _append(args, log, first, (first + 1) * args.pace)
        begun, busy_s = time.perf_counter(), time.process_time()
        make_partials(Partials(log), plan)
        seconds.append(_since(begun))
        busy.append(round(time.process_time() - busy_s, 2))
    return {"seconds": min(seconds), "processor_seconds_a_day": min(busy)}


def states(args: argparse.Namespace) -> dict[str, Any]:
    """Make all states from partials."""
    log, plan = _log(args), _plan(args)
    begun = time.perf_counter()
    with Merged(Partials(log), plan, memory=args.memory) as merged:
        opened = _since(begun)
        return {"opened_seconds": opened, **_made(plan, merged.states, begun)}


def whole_states(args: argparse.Namespace) -> dict[str, Any]:
    """Make all states from the whole log."""
    log, plan = _log(args), _plan(args)
    begun = time.perf_counter()
    with DuckDBEngine(log, memory=args.memory) as engine:
        return _made(plan, engine.states, begun)


def whole_rows(args: argparse.Namespace) -> dict[str, Any]:
    """Make training rows from the whole log."""
    log, plan = _log(args), _plan(args)
    begun = time.perf_counter()
    target = replace(next(iter(TARGETS.values())), horizon_us=DAY_US)  # the log may be of a few days
    with DuckDBEngine(log, memory=args.memory) as engine:
        spine = build_spine(engine, target, max_rows=args.rows)
        result: dict[str, Any] = {"rows": len(spine), "spine_seconds": _since(begun)}
        times = spine["event_timestamp"].astype("datetime64[us, UTC]").astype("int64")
        for entity in plan.entities:
            keys = list(entity.join_keys)
            if not entity.features or not set(keys) <= set(spine.columns):
                continue
            rows: pd.DataFrame = spine[keys].assign(time_us=times)
            start = time.perf_counter()
            engine.values(plan, entity.entity, rows, [feature.name for feature in entity.features])
            result[f"{entity.entity}_seconds"] = _since(start)
    return {**result, "seconds": _since(begun)}


STEPS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    step.__name__: step for step in (write, partials, day, states, whole_states, whole_rows)
}


def _append(args: argparse.Namespace, log: EventLog, day: int, stop: int) -> None:
    query = _EVENTS.format(
        users=args.users,
        products=args.products,
        partitions=PARTITIONS,
        pace=args.pace,
        day=DAY_US,
        start=START_US + day * DAY_US,
        first=day * args.pace,
        stop=stop,
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        events = connection.execute(query).to_arrow_table()
    numbers = events["number"].to_numpy()
    ends = log.ends(SOURCE)
    for partition in range(PARTITIONS):
        rows = events.filter(numbers == partition)
        first = ends.get(partition, -1) + 1
        offsets = range(first, first + rows.num_rows)
        placed = rows.append_column("offset", [list(offsets)])
        log.append(SOURCE, partition, offsets, declared(placed, columns_of(SHOP).placed, SHOP))


def _made(plan: Plan, states_of: Callable[..., Iterable[Backfilled]], begun: float) -> dict[str, Any]:
    """Make states, and a hash of all of them that does not depend on their order."""
    total, count, seconds = 0, 0, {}
    for entity in plan.entities:
        start = time.perf_counter()
        for state in states_of(entity):
            identity = (state.key.entity, state.key.ids, state.last_event_us)
            text = repr(identity).encode() + state.fence.encode() + state.state
            total ^= int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
            count += 1
        seconds[entity.entity] = _since(start)
    return {"seconds": _since(begun), "states": count, "by_kind": seconds, "hash": f"{total:016x}"}


def _log(args: argparse.Namespace) -> EventLog:
    return EventLog(args.folder / "log")


def _plan(args: argparse.Namespace) -> Plan:
    return load_plan(args.folder / "plan.json")


def _since(begun: float) -> float:
    return round(time.perf_counter() - begun, 1)


def _mb(number: int) -> float:
    return round(number / 2**20, 1)


if __name__ == "__main__":
    main()
