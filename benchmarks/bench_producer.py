"""Measure whether the producer holds its target rate, and how fast a burst is, over the embedded broker.

    python benchmarks/bench_producer.py [--json result.json] [--seconds 10] [--repeats 3]

A rate is held if the broker acknowledged events at within 2 % of it.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from machine import this_machine

from events.producer.options import ProduceOptions
from events.producer.produce import produce
from server.process.kafka_broker import KafkaBroker
from server.process.kafka_jars import KAFKA_VERSION
from server.process.server_process import free_port

RATES = (120, 1_000, 5_000)
BURST = 50_000
TOLERANCE = 0.02


@dataclass(frozen=True)
class Measurement:
    """Medians of some runs: events per second, and the processor seconds that the producer used per second."""

    asked: int | None
    reached: float
    slowest: float
    fastest: float
    cpu: float
    errors: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run at a rate (default %(default)g)")
    parser.add_argument("--repeats", type=int, default=3, help="runs per line (default %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the result here")
    arguments = parser.parse_args()

    setting = {
        **this_machine(),
        "kafka_python": version("kafka-python"),
        "broker": f"Apache Kafka {KAFKA_VERSION}, on the same machine",
        "topic": "4 partitions, acks=all, idempotent",
        "seconds": arguments.seconds,
        "repeats": arguments.repeats,
    }
    for name, value in setting.items():
        print(f"{name}: {value}")

    measurements = []
    print(f"\n{'asked/s':>8} {'reached/s':>10} {'off':>7} {'slowest':>9} {'fastest':>9} {'cpu':>5} {'errors':>6}")
    with tempfile.TemporaryDirectory() as folder, KafkaBroker(free_port(), Path(folder)) as broker:
        for rate in (*RATES, None):
            options = (
                ProduceOptions(mode="burst", count=BURST, servers=broker.servers, topic="burst")
                if rate is None
                else ProduceOptions(rate=rate, seconds=arguments.seconds, servers=broker.servers, topic=f"at-{rate}")
            )
            measurements.append(measure(options, rate, arguments.repeats))
            print(line(measurements[-1]), flush=True)

    held = all(abs(m.reached / m.asked - 1) <= TOLERANCE for m in measurements if m.asked)
    print(f"\nrates held within {TOLERANCE:.0%}: {'yes' if held else 'no'}")
    if arguments.json:
        result = {"setting": setting, "held": held, "measurements": [vars(m) for m in measurements]}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(options: ProduceOptions, asked: int | None, repeats: int) -> Measurement:
    rates, shares, errors = [], [], 0
    for _ in range(repeats):
        cpu = time.process_time()
        summary = produce(options, stop=threading.Event())
        rates.append(summary.rate)
        shares.append((time.process_time() - cpu) / summary.seconds)
        errors += summary.errors
    return Measurement(asked, statistics.median(rates), min(rates), max(rates), statistics.median(shares), errors)


def line(m: Measurement) -> str:
    asked, off = (f"{m.asked}", f"{m.reached / m.asked - 1:+.2%}") if m.asked else ("burst", "")
    return f"{asked:>8} {m.reached:>10.1f} {off:>7} {m.slowest:>9.1f} {m.fastest:>9.1f} {m.cpu:>5.2f} {m.errors:>6}"


if __name__ == "__main__":
    main()
