"""Measure events per second from Kafka into Redis: workers, compared with bare clients and Feast's own push.

.venv/bin/python benchmarks/bench_stream.py --json stream.json
.venv/bin/python benchmarks/bench_stream.py --burst 1000000     (how a burst drains, in how much memory)
.venv/bin/python benchmarks/bench_stream.py --workers 1 2 4      (only these numbers of workers)

Broker, store and workers run on this machine. Every measurement has its own topic and an empty store, and begins
once all workers own partitions: events are then sent as fast as librdkafka can, and time runs until all are folded.
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
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka import KafkaProducer

from data.clock import wall_clock
from data.default_shop import ShopEvent
from data.event import Event, encode_event
from data.log.event_log import EventLog
from data.project import PROJECT
from data.shop.shop import Shop, ShopConfig
from data.units import from_micros
from events.kafka.topics import ensure_topics
from events.stream.heartbeat import Heartbeats, WorkerStatus
from events.stream.parts import Parts
from events.stream.worker import Worker, WorkerOptions
from features.entities import ENTITIES
from features.plan.cache import load_plan
from features.state.online.states import OnlineStates
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port
from server.process.store import Store

PARTITIONS = 4
PATIENCE_S = 300
END_US = 1_760_000_000_000_000
"""Events are of the past, so that Feast's push and a worker can take the same ones."""


def main() -> None:
    args = _arguments()
    if args.part:
        print(json.dumps(_PARTS[args.part](args)), flush=True)
        return
    result: dict[str, Any] = {"setting": _setting(args)}
    print(json.dumps(result["setting"], indent=2))
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        load_plan(args.folder / "plan.json")
        with (
            KafkaBroker(free_port(), args.folder / "broker") as broker,
            Store(free_port(), args.folder / "store") as store,
        ):
            bench = Bench(args, broker.servers, store.port)
            if args.burst:
                result["burst"] = bench.burst()
            elif args.workers:
                result |= {f"{number} workers": bench.workers(number) for number in args.workers}
            else:
                result["bare librdkafka"] = bench.bare()
                result["one worker"] = bench.workers(1)
                result["two workers"] = bench.workers(2)
                result["light traffic"] = bench.light()
        if not (args.burst or args.workers):
            result["feast push"] = _push_alone(args)
            ratio = result["one worker"]["events_per_second"] / result["feast push"]["events_per_second"]
            result["worker_over_push"] = round(ratio, 1)
    for name, measured in result.items():
        if name != "setting":
            print(f"{name}: {json.dumps(measured)}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--rate", type=int, default=1_000, help="events a second of the light traffic")
    parser.add_argument("--seconds", type=int, default=10, help="of light traffic")
    parser.add_argument("--push-rows", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--burst", type=int, help="measure only how a burst of this many events drains")
    parser.add_argument(
        "--workers", type=int, nargs="+", help="measure only these numbers of workers, one after another"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def _setting(args: argparse.Namespace) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    options = {n: getattr(args, n) for n in ("events", "users", "products", "rate", "push_rows", "repeat")}
    return {
        "machine": platform.machine(),
        "cores": cores,
        "python": platform.python_version(),
        **options,
        "partitions": PARTITIONS,
        "clock": "wall seconds",
    }


def shop_events(args: argparse.Namespace, count: int) -> Iterator[Event]:
    """Yield the last `count` events of a shop's history, in order."""
    days = 30
    config = ShopConfig(END_US, users=args.users, products=args.products, days=days, events_per_day=count / days * 1.6)
    tables = list(Shop(config).history())
    skip = sum(table.num_rows for table in tables) - count
    for table in tables:
        for row in table.to_pylist():
            skip -= 1
            if skip < 0:
                yield ShopEvent(**row | {"metadata": None})


class Bench:
    """The measurements over one broker and one store."""

    def __init__(self, args: argparse.Namespace, servers: str, redis_port: int) -> None:
        self._args = args
        self._servers = servers
        self._redis = redis.Redis(port=redis_port)
        self._redis_port = redis_port
        self._topics = 0
        count = args.burst or args.events
        self._messages = [(event.user_id.encode(), encode_event(event)) for event in shop_events(args, count)]

    def bare(self) -> dict[str, Any]:
        """Measure messages per second from librdkafka, without processing them."""
        rates = []
        topic = self._new_topic()
        self._fill(topic)
        for number in range(self._args.repeat):
            consumer = Consumer({"bootstrap.servers": self._servers, "group.id": f"{topic}-{number}"})
            consumer.assign([TopicPartition(topic, part, 0) for part in range(PARTITIONS)])
            count, start = 0, 0.0
            while count < len(self._messages):
                messages = consumer.consume(5_000, 0.1)
                start = start or (time.perf_counter() if messages else 0.0)
                count += len(messages)
            rates.append(count / (time.perf_counter() - start))
            consumer.close()
        return {"events_per_second": round(statistics.median(rates))}

    def workers(self, number: int) -> dict[str, Any]:
        """Measure events per second from Kafka, checked, into states and log, from first sent to last folded."""
        runs: list[dict[str, Any]] = []
        for _ in range(self._args.repeat):
            self._redis.flushall()
            topic = self._new_topic()
            with self._running(topic, number) as reports:
                start, redis_s = time.perf_counter(), self._redis_s()
                self._fill(topic)
                sent = time.perf_counter() - start
                self._await_folded(len(self._messages))
                seconds, redis_s = time.perf_counter() - start, self._redis_s() - redis_s
            redis_us = round(redis_s / len(self._messages) * 1e6, 1)
            runs.append(
                {"seconds": round(seconds, 2), "sent_in": round(sent, 2), "redis_us": redis_us, "workers": reports}
            )
        rate = len(self._messages) / statistics.median(run["seconds"] for run in runs)
        return {"events_per_second": round(rate), "states": self._redis.dbsize(), "runs": runs}

    def _redis_s(self) -> float:
        cpu = self._redis.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])

    def burst(self) -> dict[str, Any]:
        """Measure how one worker drains a burst."""
        return self.workers(1)

    def light(self) -> dict[str, Any]:
        """Measure the age of events when their features show them, with one worker and little traffic."""
        self._redis.flushall()
        topic = self._new_topic()
        with self._running(topic, 1):
            producer = KafkaProducer(bootstrap_servers=self._servers, linger_ms=0)
            producer.partitions_for(topic)  # fetch metadata now, or the first events would wait for it
            start = time.perf_counter()
            for number in range(self._args.rate * self._args.seconds):
                late = start + number / self._args.rate - time.perf_counter()
                if late > 0:
                    time.sleep(late)
                now = from_micros(wall_clock())
                user = f"u{number % self._args.users}"
                event = ShopEvent(f"light-{number}", "view", user, f"p{number % self._args.products}", 1.0, now)
                producer.send(topic, key=user.encode(), value=encode_event(event))
            producer.flush()
            sent_s = time.perf_counter() - start
            (status,) = self._await_folded(self._args.rate * self._args.seconds)
            producer.close()
        median, high = status.freshness_ms or (None, None)
        return {
            "sent_per_second": round(self._args.rate * self._args.seconds / sent_s),
            "p50_ms": median,
            "p99_ms": high,
        }

    def _new_topic(self) -> str:
        self._topics += 1
        topic = f"bench-{self._topics}"
        ensure_topics(self._servers, topic, partitions=PARTITIONS)
        return topic

    def _fill(self, topic: str) -> None:
        producer = Producer(
            {"bootstrap.servers": self._servers, "linger.ms": 5, "queue.buffering.max.messages": 2_000_000}
        )
        for number, (key, value) in enumerate(self._messages):
            producer.produce(topic, key=key, value=value)
            if number % 1_000 == 0:
                producer.poll(0)
        producer.flush()

    @contextmanager
    def _running(self, topic: str, number: int) -> Iterator[list[dict[str, Any]]]:
        """Run workers as processes; yield a list that has their reports once they have ended."""
        log = self._args.folder / f"log-{topic}"
        processes = []
        reports: list[dict[str, Any]] = []
        for name in map(str, range(number)):
            worker = {"servers": self._servers, "topic": topic, "name": name, "log": str(log)}
            command = [sys.executable, __file__, "--part", "worker", "--folder", str(self._args.folder), "--worker"]
            setup = json.dumps(worker | {"redis_port": self._redis_port})
            processes.append(
                subprocess.Popen([*command, setup], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
        try:
            all_partitions = set(range(PARTITIONS))
            self._await(lambda beats: len(beats) == number and {p for b in beats for p in b.lag} == all_partitions)
            yield reports
        finally:
            for process in processes:
                output, _ = process.communicate("stop\n", timeout=60)
                reports.append(json.loads(output.splitlines()[-1]))

    def _await_folded(self, count: int) -> list[WorkerStatus]:
        """Wait until workers have folded `count` events. They report once a second, so up to 1 s is added."""
        return self._await(lambda beats: sum(beat.folded for beat in beats) >= count)

    def _await(self, condition: Callable[[list[WorkerStatus]], bool]) -> list[WorkerStatus]:
        heartbeats = Heartbeats(self._redis, PROJECT)
        deadline = time.monotonic() + PATIENCE_S
        while not condition(beats := heartbeats.all()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"after {PATIENCE_S} s the workers have not reached the expected state: {beats}")
            time.sleep(0.02)
        return beats


def _worker(args: argparse.Namespace) -> dict[str, Any]:
    """Run a worker as `encore stream` does, until a line arrives on stdin."""
    from server.process.collector import settle_collector  # noqa: PLC0415

    setup = args.worker
    client = redis.Redis(port=setup["redis_port"])
    options = WorkerOptions(
        servers=setup["servers"],
        topic=setup["topic"],
        group=setup["topic"],
        name=setup["name"],
    )
    parts = Parts(
        plan=load_plan(args.folder / "plan.json"), states=OnlineStates(client), log=EventLog(Path(setup["log"]))
    )
    worker = Worker(options, parts, Heartbeats(client, PROJECT))
    stop = threading.Event()

    def stop_at_a_line() -> None:
        sys.stdin.readline()
        stop.set()

    threading.Thread(target=stop_at_a_line, daemon=True).start()
    settle_collector()
    cpu = time.process_time()
    worker.run(stop)
    return {"peak_mb": _peak_mb(), "cpu_seconds": round(time.process_time() - cpu, 2)}


def _push_alone(args: argparse.Namespace) -> dict[str, Any]:
    """Run `_push` in a separate process, after broker and workers have ended."""
    command = [sys.executable, __file__, "--part", "push"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--folder", folder, "--push-rows", str(args.push_rows), "--repeat", str(args.repeat)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured: dict[str, Any] = json.loads(output.splitlines()[-1])
    return measured


def _push(args: argparse.Namespace) -> dict[str, Any]:
    """Measure Feast's push into its own Redis store: per event, one row for each of its entities, with all features.

    The features are assumed to be computed already, which is the greater part of a worker's task.
    """
    warnings.simplefilter("ignore")
    import pandas as pd  # noqa: PLC0415 - so that other parts do not hold its memory
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource  # noqa: PLC0415
    from feast.repo_config import RepoConfig  # noqa: PLC0415
    from feast.types import Float64, Int64  # noqa: PLC0415
    from feast.value_type import ValueType  # noqa: PLC0415

    plan = load_plan(args.folder / "plan.json")
    with Store(free_port(), args.folder / "push") as running:
        online = {"type": "redis", "connection_string": f"localhost:{running.port}"}
        registry = str(args.folder / "registry.db")
        store = FeatureStore(
            config=RepoConfig(
                project="push",
                provider="local",
                registry=registry,
                online_store=online,
                offline_store={"type": "dask"},
                entity_key_serialization_version=3,
            )
        )
        keys = {
            key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING)
            for entity in ENTITIES
            for key in entity.join_keys
        }
        objects: list[Any] = list(keys.values())
        for entity in ENTITIES:
            batch = FileSource(name=f"{entity.name}_file", path=f"{entity.name}.parquet", timestamp_field="timestamp")
            source = PushSource(name=entity.name, batch_source=batch)
            schema = [
                Field(name=f.name, dtype={"int": Int64, "float": Float64}[f.type])
                for f in plan.of(entity.name).features
            ]
            entities = [keys[key] for key in entity.join_keys]
            objects += [
                source,
                FeatureView(name=entity.view, entities=entities, schema=schema, source=source, ttl=None),
            ]
        store.apply(objects)
        events = list(shop_events(args, args.push_rows))
        rates, pushed = [], 0
        for _ in range(args.repeat):
            start = time.perf_counter()
            for event in events:
                for entity in ENTITIES:
                    values = {f.name: [1 if f.type == "int" else 1.5] for f in plan.of(entity.name).features}
                    ids = {key: [getattr(event, key)] for key in entity.join_keys}
                    if [None] in ids.values():  # a label that the event does not have
                        continue
                    store.push(entity.name, pd.DataFrame(ids | values | {"timestamp": [event.timestamp]}))
                    pushed += 1
            rates.append(len(events) / (time.perf_counter() - start))
    return {"events_per_second": round(statistics.median(rates), 1), "rows": pushed // args.repeat}


def _peak_mb() -> int:
    """Return the peak memory of this process. On Linux `getrusage` would start with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 * 1024)  # macOS counts bytes


_PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {"worker": _worker, "push": _push}


if __name__ == "__main__":
    main()
