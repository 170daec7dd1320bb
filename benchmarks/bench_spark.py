"""Measure processor time per event, training row and state, on DuckDB or a worker and on Spark, side by side.

    python benchmarks/bench_spark.py [--json spark.json] [--events 100000] [--rows 10000] [--master "local[2]"]

Needs `make spark`. Everything runs on this machine over one log and one topic of a synthetic shop. Processor time is
that of the measuring process and all processes that it started (including Java and Spark's Python), user and system,
from when they are up until the work is done, without broker and store. A tenth of the work is done before, to warm up.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import redis
from kafka import KafkaProducer
from machine import this_machine

from data.default_shop import ShopEvent
from data.event import encode_event
from data.log.event_log import EventLog
from data.shop.shop import Shop, ShopConfig
from data.units import to_micros
from events.kafka.consumer import Consumer, ConsumerOptions
from events.kafka.topics import ensure_topics
from features.batch.engine import DuckDBEngine
from features.batch.materializer import materialize
from features.batch.spark.engine import SparkEngine
from features.batch.spark.session import SparkConnection
from features.batch.spark.states import OpenStates
from features.plan.cache import load_plan
from features.state.online.access import RedisAccess
from server.jobs.stream import run_spark_job, run_worker
from server.process.kafka_broker import KafkaBroker
from server.process.kafka_jars import fetch_connector
from server.process.server_process import free_port
from server.process.store import Store
from server.settings import Settings, read_settings

END_US = 1_760_000_000_000_000
DAYS = 30
TICKS = os.sysconf("SC_CLK_TCK")
TOPIC = "bench-spark"
PATIENCE_S = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=10_000, help="training rows, each of all features")
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--products", type=int, default=500)
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--servers", help=argparse.SUPPRESS)
    parser.add_argument("--redis", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        engine, what = args.part.split()
        print(json.dumps(PARTS[what](args, engine)))
        return
    result: dict[str, Any] = {
        "setting": {
            **this_machine(),
            **{name: getattr(args, name) for name in ("events", "rows", "users", "products", "master")},
        }
    }
    print(json.dumps(result["setting"], indent=2))
    with (
        tempfile.TemporaryDirectory() as folder,
        KafkaBroker(free_port(), Path(folder) / "broker") as broker,
        Store(free_port(), Path(folder) / "store") as store,
    ):
        args.folder = Path(folder)
        prepare(args, broker.servers)
        for what in PARTS:
            for engine in ("duckdb", "spark"):
                redis.Redis(port=store.port).flushall()
                command = [*sys.argv, "--part", f"{engine} {what}", "--folder", folder]
                command += ["--servers", broker.servers, "--redis", str(store.port)]
                process = subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE, text=True)
                measured = json.loads(process.stdout.splitlines()[-1])
                result.setdefault(what, {})[engine] = measured
                print(f"{what} on {engine}: {json.dumps(measured)}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def prepare(args: argparse.Namespace, servers: str) -> None:
    """Make the log, and send its events to the topic; write a tenth of them to another log and topic, to warm up."""
    load_plan(args.folder / "plan.json")
    config = ShopConfig(END_US, users=args.users, products=args.products, days=DAYS, events_per_day=args.events / DAYS)
    tables = list(Shop(config).history())
    rows = [ShopEvent(**row | {"metadata": None}) for table in tables for row in table.to_pylist()]
    EventLog(args.folder / "log").write_history("shop", tables)
    EventLog(args.folder / "few" / "log").write_history("shop", [tables[0][: args.events // 10]])
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=20)
    for topic, events_of_topic in ((TOPIC, rows), (f"{TOPIC}-few", rows[: len(rows) // 10])):
        ensure_topics(servers, topic)
        for event in events_of_topic:
            producer.send(topic, key=event.user_id.encode(), value=encode_event(event))
    producer.flush()
    producer.close()


class Stopwatch:
    """Measures the processor seconds and wall seconds of a block."""

    def __enter__(self) -> "Stopwatch":
        self._cpu_s, self._at_s = tree_cpu_s(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s, self.seconds = tree_cpu_s() - self._cpu_s, time.perf_counter() - self._at_s

    def report(self, unit: str, count: int) -> dict[str, Any]:
        return {
            unit: count,
            "cpu_seconds": round(self.cpu_s, 2),
            "seconds": round(self.seconds, 2),
            "cpu_us_each": round(self.cpu_s / count * 1e6, 1),
        }


def tree_cpu_s() -> float:
    """Return the processor time of this process and its descendants, including ended ones that were waited for."""
    stats: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = path.read_text().partition(" ")
        except OSError:
            continue
        stats[int(pid)] = rest.rpartition(")")[2].split()
    tree = {os.getpid()}
    while more := {pid for pid, fields in stats.items() if int(fields[1]) in tree and pid not in tree}:
        tree |= more
    return sum(int(ticks) for pid in tree for ticks in stats[pid][11:15]) / TICKS


def states(args: argparse.Namespace, engine: str) -> dict[str, Any]:
    plan = load_plan(args.folder / "plan.json")
    opened = OpenStates(RedisAccess(port=args.redis), "encore", plan.schema)

    def fold(log: EventLog, spark: SparkConnection | None) -> None:
        if spark is not None:
            with SparkEngine(log) as on_spark:
                for entity in plan.entities:
                    on_spark.write_states(entity, opened)
            return
        with DuckDBEngine(log) as duckdb:
            for entity in plan.entities:
                materialize(opened(), duckdb.states(entity), entity, log)

    with spark_for(args, engine) as spark:
        fold(EventLog(args.folder / "few" / "log"), spark)
        redis.Redis(port=args.redis).flushall()
        with Stopwatch() as stopwatch:
            fold(EventLog(args.folder / "log"), spark)
    return stopwatch.report("states", sum(opened().counts().values()))


def rows(args: argparse.Namespace, engine: str) -> dict[str, Any]:
    plan, log = load_plan(args.folder / "plan.json"), EventLog(args.folder / "log")
    chance = np.random.default_rng(0)
    events = next(log.tables()).to_pylist()
    picked = [events[place] for place in chance.integers(0, len(events), args.rows)]
    questions = pd.DataFrame(picked)
    questions["time_us"] = [to_micros(row["timestamp"]) + 1 for row in picked]

    def compute(frame: pd.DataFrame) -> None:
        with SparkEngine(log) if engine == "spark" else DuckDBEngine(log) as chosen:
            for entity in plan.entities:
                spine = frame[[*entity.join_keys, "time_us"]].dropna()
                assert isinstance(chosen, SparkEngine | DuckDBEngine)
                chosen.values(plan, entity.entity, spine, [feature.name for feature in entity.features])

    with spark_for(args, engine):
        compute(questions[: args.rows // 10])
        with Stopwatch() as stopwatch:
            compute(questions)
    return stopwatch.report("rows", args.rows)


def events(args: argparse.Namespace, engine: str) -> dict[str, Any]:
    settings = read_settings(
        home=args.folder / f"home-{engine}", kafka_servers=args.servers, redis_port=args.redis, redis_host="127.0.0.1"
    )
    run = run_spark_job if engine == "spark" else run_worker
    with spark_for(args, engine):
        drain(settings, run, f"{TOPIC}-few")
        redis.Redis(port=args.redis).flushall()
        settings = settings.model_copy(update={"home": args.folder / f"home-{engine}-2"})
        with Stopwatch() as stopwatch:
            messages = drain(settings, run, TOPIC)
    return stopwatch.report("events", messages)


def drain(settings: Settings, run: Callable[..., None], topic: str) -> int:
    """Run until all messages of a topic are committed; return their number."""
    stop = threading.Event()
    names = {"name": "bench", "topic": topic, "group": f"{topic}-{settings.home.name}"}
    working = threading.Thread(target=run, args=(settings, stop), kwargs=names)
    working.start()
    options = ConsumerOptions(
        servers=settings.kafka_servers, topic=topic, group=names["group"], name="observer", protocol="classic"
    )
    observer, deadline_s = Consumer(options), time.monotonic() + PATIENCE_S
    while True:
        partitions = observer.look(range(4))
        if all(p.committed == p.end or not p.end for p in partitions):
            break
        if not working.is_alive() or time.monotonic() > deadline_s:
            raise SystemExit(f"{topic}: not all was folded")
        time.sleep(0.5)
    stop.set()
    working.join()
    observer.close()
    return sum(p.end for p in partitions)


@contextmanager
def spark_for(args: argparse.Namespace, engine: str) -> Iterator[SparkConnection | None]:
    """Start Spark if the engine is that."""
    with ExitStack() as stack:
        if engine != "spark":
            yield None
            return
        options = {"spark.jars": ",".join(map(str, fetch_connector())), "spark.sql.shuffle.partitions": "8"}
        spark = SparkConnection(args.master, options)
        stack.callback(spark.close)
        yield spark


PARTS: dict[str, Callable[[argparse.Namespace, str], dict[str, Any]]] = {"state": states, "row": rows, "event": events}


if __name__ == "__main__":
    main()
