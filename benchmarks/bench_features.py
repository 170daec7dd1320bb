"""Measure how fast features are computed: in batch (compared with Featuretools), folded from a stream, read from bytes.

.venv/bin/python benchmarks/bench_features.py --json features.json
.venv/bin/python benchmarks/bench_features.py --growth 2000000 4000000 8000000 --plot growth.svg     (batch only)

Each measurement runs in a separate process, so that its peak memory is measured alone.
"""

import argparse
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data.default_shop import SHOP
from data.log.event_log import EventLog
from data.shop.shop import Shop, ShopConfig
from features.batch.engine import DuckDBEngine
from features.entities import ENTITIES
from features.facts import fact_class
from features.plan.cache import load_plan
from features.plan.plan import Plan
from features.state.fence import Fence
from features.state.fold import Fold, Sourced
from features.state.states import EntityKey, Stored
from features.state.values import EntityValues, RequestValues

END_US = 1_760_000_000_000_000
DAYS = 120
TOPIC = b"a benchmark's id"
_KEYS = sorted({key for entity in ENTITIES for key in entity.join_keys})


def main() -> None:
    args = _arguments()
    if args.part:
        print(json.dumps(_PARTS[args.part](args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        result: dict[str, Any] = {"setting": _setting(args)}
        if args.growth:
            result["growth"] = [_measure(args, "batch", events=events) for events in args.growth]
            _print_growth(result["growth"])
            if args.plot:
                _plot_growth(result["growth"], args.plot)
        else:
            for part in ("batch", "featuretools", "fold", "read"):
                result[part] = _measure(args, part)
                print(f"{part}: {json.dumps(result[part], indent=2)}", flush=True)
            for clock in ("second", "cpu_second"):
                rates = [result[part][f"rows_per_{clock}"] for part in ("batch", "featuretools")]
                result[f"batch_over_featuretools_per_{clock}"] = round(rates[0] / rates[1])
                print(f"batch computes {rates[0] / rates[1]:,.0f} times Featuretools' rows per {clock}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the spine: user, product, time")
    parser.add_argument("--featuretools-rows", type=int, default=300)
    parser.add_argument("--fold-events", type=int, default=200_000)
    parser.add_argument("--memory", default="2GB", help="DuckDB's memory limit, past which it spills")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--growth", type=int, nargs="*", help="measure batch only, at these numbers of events")
    parser.add_argument("--plot", type=Path, help="where to draw the growth, such as growth.svg")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _setting(args: argparse.Namespace) -> dict[str, Any]:
    options = {n: getattr(args, n) for n in ("users", "products", "rows", "memory", "threads", "repeat")}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "machine": platform.machine(),
        "cores": cores,
        "python": platform.python_version(),
        "events": args.growth or args.events,
        **options,
        "featuretools_rows": args.featuretools_rows,
        "fold_events": args.fold_events,
        "clock": "wall seconds",
    }


def _measure(args: argparse.Namespace, part: str, *, events: int | None = None) -> dict[str, Any]:
    """Run a part in a separate process and return its result."""
    events = events or args.events
    command = [sys.executable, __file__, "--part", part, "--folder", str(args.folder), "--events", str(events)]
    for name in ("users", "products", "rows", "featuretools_rows", "fold_events", "memory", "threads", "repeat"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    log = args.folder / f"log-{events}"
    if not log.exists():
        subprocess.run([*command[:3], "history", *command[4:]], check=True, stdout=subprocess.DEVNULL)
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured: dict[str, Any] = json.loads(output.splitlines()[-1])
    return measured


def _history(args: argparse.Namespace) -> dict[str, Any]:
    """Write a shop's history of about `events` events, cut to that number."""
    per_day = args.events / DAYS * 1.6  # a shop grows: it sees less at first
    shop = Shop(ShopConfig(END_US, users=args.users, products=args.products, days=DAYS, events_per_day=per_day))
    table = pa.concat_tables(shop.history())
    log = EventLog(args.folder / f"log-{args.events}")
    return {"events": log.write_history("shop", [table.slice(max(0, table.num_rows - args.events))])}


def _events(args: argparse.Namespace) -> pd.DataFrame:
    log = EventLog(args.folder / f"log-{args.events}")
    columns = ["event_id", "event_type", *SHOP.columns, "timestamp"]
    tables = pa.concat_tables(pq.read_table(file.path, columns=columns) for file in log.files())
    events: pd.DataFrame = tables.to_pandas().dropna(subset=_KEYS)
    return events


def _spine(args: argparse.Namespace) -> pd.DataFrame:
    """Return randomly drawn events: each asks about its entities at its own time, so every row has a history."""
    events = _events(args)
    drawn = events.sample(min(args.rows, len(events)), random_state=1)
    times = drawn["timestamp"].astype("datetime64[us, UTC]").astype("int64")
    return drawn[_KEYS].assign(time_us=times)


def _batch(args: argparse.Namespace) -> dict[str, Any]:
    """Compute every feature of all entities at every row of the spine."""
    plan, spine = _plan(args), _spine(args)
    log = EventLog(args.folder / f"log-{args.events}")
    before_mb = _peak_mb()

    def compute() -> int:
        with DuckDBEngine(log, memory=args.memory, threads=args.threads) as engine:
            tables = [
                engine.values(plan, entity.name, spine, [f.name for f in plan.of(entity.name).features])
                for entity in ENTITIES
            ]
        return sum(table.num_columns for table in tables)

    cpu = time.process_time()
    seconds = [_seconds(compute) for _ in range(args.repeat)]
    cpu = (time.process_time() - cpu) / args.repeat
    median = statistics.median(seconds)
    return {
        "events": log.count(),
        "rows": len(spine),
        "features": sum(len(plan.of(entity.name).features) for entity in ENTITIES),
        "seconds": round(median, 2),
        "all_seconds": [round(run_s, 2) for run_s in seconds],
        "cpu_seconds": round(cpu, 2),
        "rows_per_second": round(len(spine) / median),
        "rows_per_cpu_second": round(len(spine) / cpu),
        "peak_mb": _peak_mb(),
        "peak_mb_before": before_mb,
    }


def _featuretools(args: argparse.Namespace) -> dict[str, Any]:
    """Compute the features with `calculate_feature_matrix`, each row at its own cutoff; untiled, which is less work."""
    warnings.simplefilter("ignore")
    import featuretools as ft  # noqa: PLC0415 - other parts shall not hold its memory

    from features.definitions import define  # noqa: PLC0415 - as above
    from features.plan.entity_set import entity_ids, entity_set  # noqa: PLC0415 - as above

    events = _events(args)
    events["timestamp"] = events["timestamp"].dt.tz_localize(None).astype("datetime64[ns]")
    for entity in ENTITIES:
        events[entity.index] = entity_ids(events, entity)
    spine = _spine(args).head(args.featuretools_rows)
    shop = entity_set(events=events)
    definitions = define(shop)
    times = pd.to_datetime(spine["time_us"], unit="us").astype("datetime64[ns]")

    def compute() -> None:
        for entity in ENTITIES:
            wanted = [definition for definition in definitions if definition.dataframe_name == entity.frame]
            cutoff = pd.DataFrame({entity.index: entity_ids(spine, entity), "time": times.to_numpy()})
            ft.calculate_feature_matrix(wanted, shop, cutoff_time=cutoff)

    cpu = time.process_time()
    seconds = _seconds(compute)
    cpu = time.process_time() - cpu
    return {
        "rows": len(spine),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "rows_per_second": round(len(spine) / seconds, 2),
        "rows_per_cpu_second": round(len(spine) / cpu, 2),
        "peak_mb": _peak_mb(),
    }


class _DictStates:
    """States in a dict instead of Redis, to measure only the worker's own work, including decode and encode."""

    def __init__(self) -> None:
        self.stored: dict[EntityKey, Stored] = {}

    def read(self, keys: Sequence[EntityKey]) -> list[Stored]:
        empty = Stored(b"", b"")
        return [self.stored.get(key, empty) for key in keys]

    def compare_and_set(self, writes: Mapping[EntityKey, tuple[Stored, bytes, Fence]]) -> list[EntityKey]:
        for key, (_, state, fence) in writes.items():
            self.stored[key] = Stored(state, fence.encode())
        return []


def _fold(args: argparse.Namespace) -> dict[str, Any]:
    """Fold decoded events into bytes of states: all entities, in micro-batches as a worker takes them, on one core.

    Each state is read from its bytes and written back to them in every batch that touches it.
    """
    plan = _plan(args)
    events = _events(args).tail(args.fold_events)
    times = events["timestamp"].astype("datetime64[us, UTC]").astype("int64")
    make = fact_class(SHOP)
    columns: dict[str, list[Any]] = {str(name): values.tolist() for name, values in events.items()}
    columns |= {name: [None if pd.isna(label) else label for label in columns[name]] for name in SHOP.labels}
    columns |= {m.name: (events[m.name] * m.unit).round().astype("int64").tolist() for m in SHOP.measures}
    columns["timestamp_us"] = times.tolist()
    facts = [make(*row) for row in zip(*(columns[name] for name in make._fields), strict=True)]
    partitions = [crc32(fact.user_id.encode()) % 4 for fact in facts]
    sourced = [
        Sourced(fact, partition, offset) for offset, (fact, partition) in enumerate(zip(facts, partitions, strict=True))
    ]

    def rate(batch: int) -> float:
        states = _DictStates()
        fold = Fold(plan, states, TOPIC)  # type: ignore[arg-type]
        start = time.process_time()
        for first in range(0, len(sourced), batch):
            fold.apply(sourced[first : first + batch])
        return len(sourced) / (time.process_time() - start)

    def median(measure: Callable[[], float]) -> int:
        return round(statistics.median(measure() for _ in range(args.repeat)))

    return {
        "events": len(sourced),
        "unit": "events per CPU second of the process",
        **{f"batches_of_{batch}": median(lambda batch=batch: rate(batch)) for batch in (2_000, 5_000, 50_000)},  # type: ignore[misc]
    }


def _read(args: argparse.Namespace) -> dict[str, Any]:
    """Decode the states of the entities that a question names, for random events, and compute every feature."""
    plan = _plan(args)
    events = _events(args)
    with DuckDBEngine(EventLog(args.folder / f"log-{args.events}"), memory=args.memory, threads=args.threads) as engine:
        stored = {state.key: state.state for entity in SHOP.asked for state in engine.states(plan.of(entity.name))}
    readers = [EntityValues(plan.of(entity.name)) for entity in SHOP.asked]
    request = RequestValues(plan)
    now = int(events["timestamp"].max().value // 1000)
    drawn = events.sample(5_000, random_state=1)
    questions = [
        [stored[EntityKey(entity.name, tuple(row[key] for key in entity.join_keys))] for entity in SHOP.asked]
        for row in drawn[_KEYS].to_dict("records")
    ]
    micros, with_request = [], []
    for states in questions:
        start = time.perf_counter_ns()
        answers = [r.get(r.algebra.decode(state), now) for r, state in zip(readers, states, strict=True)]
        micros.append((time.perf_counter_ns() - start) / 1000)
        values_by_name = {
            name: v for r, values in zip(readers, answers, strict=True) for name, v in zip(r.names, values, strict=True)
        }
        request.get(values_by_name, (1.0,), now)
        with_request.append((time.perf_counter_ns() - start) / 1000)
    return {
        "reads": len(questions),
        "features": sum(len(reader.names) for reader in readers) + len(request.names),
        "median_us": round(statistics.median(micros), 1),
        "p99_us": round(statistics.quantiles(micros, n=100)[98], 1),
        "median_us_with_request": round(statistics.median(with_request), 1),
        "median_state_bytes": [round(statistics.median(map(len, states))) for states in zip(*questions, strict=True)],
    }


def _plan(args: argparse.Namespace) -> Plan:
    return load_plan(args.folder / "plan.json")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peak_mb() -> int:
    """Return the peak memory of this process in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024))


def _print_growth(rows: list[dict[str, Any]]) -> None:
    print(f"{'events':>12} {'spine rows':>12} {'seconds':>9} {'CPU s':>9} {'rows/s':>9} {'peak MB':>9}")
    for row in rows:
        print(
            f"{row['events']:>12,} {row['rows']:>12,} {row['seconds']:>9.1f} {row['cpu_seconds']:>9.1f} "
            f"{row['rows_per_second']:>9,} {row['peak_mb']:>9,}"
        )


def _plot_growth(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time and memory against the number of events."""
    import matplotlib as mpl  # noqa: PLC0415 - only a plot needs it

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    events = [row["events"] / 1e6 for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    drawn = (
        ("seconds", (("seconds", "wall", "#0072b2"), ("cpu_seconds", "processor", "#d55e00"))),
        ("MB", (("peak_mb", "peak of the process", "#0072b2"), ("peak_mb_before", "before it began", "#d55e00"))),
    )
    for axis, (label, lines) in zip(axes, drawn, strict=True):
        for name, what, colour in lines:
            axis.plot(events, [row[name] for row in rows], "o-", color=colour, label=what)
        axis.set(xlabel="events, millions", ylabel=label, ylim=(0, None), xlim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.suptitle(f"{rows[0]['features']} features at {rows[0]['rows']:,} rows of a spine")
    figure.savefig(path, metadata={"Date": None})


_PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "history": _history,
    "batch": _batch,
    "featuretools": _featuretools,
    "fold": _fold,
    "read": _read,
}


if __name__ == "__main__":
    main()
