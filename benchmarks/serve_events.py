"""Measure the time until a score includes an event: produce events at a rate, and ask until the answer has them.

    python benchmarks/serve_events.py API_PORT SECONDS RATE      over the Kafka of the environment; prints JSON

Every twentieth event is followed: from the moment it was passed to the producer, its user, who has no other event, is
asked about every 4 ms until the answer counts it. The time covers all of it: producing, broker, worker, score.
"""

import asyncio
import json
import statistics
import sys
import time
import uuid

import uvloop
from http_load import Asker, post
from kafka import KafkaProducer

from data.clock import wall_clock
from data.default_shop import ShopEvent
from data.event import encode_event
from data.units import from_micros
from events.kafka.topics import ensure_topics
from server.settings import read_settings

TOPIC = "ecommerce-events"
FOLLOWED = 20
EVERY_S = 0.004
GIVEN_UP_S = 30.0


class Followed:
    """Follows events, and records how long each took, in s."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.times_s: list[float] = []
        self.polls = 0

    async def follow(self, user: str, began: float) -> None:
        """Ask about the user until the answer includes the event."""
        request = post("/predict", {"user_id": user, "product_id": "p00001"})
        while time.perf_counter() - began < GIVEN_UP_S:
            status, body = await self._asker.ask(request)
            if status != b"200":
                raise SystemExit(f"the server answered {status.decode()}: {body[:300]!r}")
            self.polls += 1
            if b'"user_view_count":0,' not in body:
                break
            await asyncio.sleep(EVERY_S)
        self.times_s.append(time.perf_counter() - began)


async def run(port: int, seconds: float, rate: int) -> dict[str, float]:
    """Make one measurement, after three seconds that do not count."""
    servers = read_settings().kafka_servers
    ensure_topics(servers, TOPIC)
    producer = KafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=5)  # as `encore produce` has it
    loop = asyncio.get_running_loop()
    run_id = uuid.uuid4().hex[:8]  # so that these users are new
    followed = Followed(await Asker.connect(port, 32))
    tasks: list[asyncio.Task[None]] = []

    def begin(user: str, began: float) -> None:
        tasks.append(loop.create_task(followed.follow(user, began)))

    def produce(name: str, count: int, follow_every: int) -> None:
        start = time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            user = f"{run_id}-{name}-{number}"
            event = ShopEvent(user, "view", user, "p00001", 10.0, from_micros(wall_clock()))
            began = time.perf_counter()
            producer.send(TOPIC, key=user.encode(), value=encode_event(event))
            if number % follow_every == 0:
                loop.call_soon_threadsafe(begin, user, began)

    await asyncio.to_thread(produce, "first", 1, 1)  # until then the worker may have no partitions yet
    await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    await asyncio.to_thread(produce, "warm", 3 * rate, FOLLOWED)
    await asyncio.gather(*tasks)
    tasks.clear()
    followed.times_s.clear()
    followed.polls = 0
    await asyncio.to_thread(produce, "event", int(seconds * rate), FOLLOWED)
    await asyncio.gather(*tasks)
    await asyncio.to_thread(producer.close)
    times_s = sorted(followed.times_s)
    return {
        "rate": rate,
        "followed": len(times_s),
        "p50_ms": round(1000 * statistics.median(times_s), 1),
        "p99_ms": round(1000 * times_s[int(0.99 * len(times_s))], 1),
        "max_ms": round(1000 * times_s[-1], 1),
        "polls": followed.polls,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))))
