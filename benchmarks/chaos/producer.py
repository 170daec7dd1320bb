"""The producer of a chaos run: shop events at a rate, some late, shuffled, duplicated or poisoned; all recorded.

Every quarter of a second it sends one canary per partition: a purchase whose amount is its number, from which the
watch sees how far a partition is folded.
"""

import json
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from kafka.partitioner.default import murmur2

from chaos.ledger import CANARY, EVENT, POISON, Acknowledged, Ledger, Sent
from data.clock import wall_clock
from data.default_shop import ShopEvent
from data.event import encode_event
from data.units import DAY_US, HOUR_US, from_micros
from events.kafka.sender import Sender
from events.kafka.topics import EVENTS_TOPIC, await_broker, ensure_topics
from events.producer.pacing import Pace

__all__ = ["canary_user"]

_USERS, _PRODUCTS = 400, 120
_TYPES = ("view", "add_to_cart", "remove_from_cart", "purchase")
_WEIGHTS = (60, 15, 5, 20)
_CANARY_S = 0.25

_TWICE, _POISONED, _HELD_BACK = 0.01, 0.003, 0.05


def canary_user(partition: int, partitions: int) -> str:
    """Return a user whose events go to this partition by Kafka's hash."""
    names = (f"canary-{partition}-{number}" for number in count())
    return next(name for name in names if (murmur2(name.encode()) & 0x7FFFFFFF) % partitions == partition)


class _Traffic:
    """Endless messages; the same seed draws the same ones, except for their times and ids."""

    def __init__(self, seed: str, first: int, partitions: int) -> None:
        self._draw = random.Random(seed)
        self._numbers = count(first)
        self._canaries = [canary_user(partition, partitions) for partition in range(partitions)]
        self._held: list[Sent] = []

    def canaries(self) -> Iterator[Sent]:
        for user in self._canaries:
            number = next(self._numbers)
            event = ShopEvent(f"c{number}", "purchase", user, user, float(number), from_micros(wall_clock()))
            yield Sent(number, CANARY, user.encode(), encode_event(event))

    def next(self) -> list[Sent]:
        """Return one message, or none, two or the held ones."""
        draw = self._draw
        number = next(self._numbers)
        message = self._event(number)
        chance = draw.random()
        if chance < _POISONED:
            return [self._poison(message)]
        if chance < _POISONED + _TWICE:
            again = message._replace(number=next(self._numbers))
            if draw.random() < 0.5:
                return [message, again]
            self._held.append(again)  # a client that retries later
            return [message]
        if draw.random() < _HELD_BACK:
            self._held.append(message)
            if len(self._held) < 50:
                return []
            draw.shuffle(self._held)
            held, self._held = self._held, []
            return held
        return [message]

    def _event(self, number: int) -> Sent:
        draw = self._draw
        (kind,) = draw.choices(_TYPES, _WEIGHTS)
        late = draw.random()
        late_us = 0 if late < 0.8 else int(draw.random() * (HOUR_US if late < 0.95 else 40 * DAY_US))
        user = f"u{int(_USERS * draw.random() ** 2)}"
        metadata = {"n": number} if draw.random() < 0.1 else None
        event = ShopEvent(
            f"e{number}",
            kind,
            user,
            f"p{int(_PRODUCTS * draw.random() ** 2)}",
            round(draw.expovariate(0.05), 2),
            from_micros(wall_clock() - late_us),
            draw.randint(1, 3),
            metadata=metadata,
        )
        return Sent(number, EVENT, user.encode(), encode_event(event))

    def _poison(self, message: Sent) -> Sent:
        key, value = message.key, message.value
        assert value is not None
        raw = json.loads(value)
        bad: list[tuple[bytes | None, bytes | None]] = [
            (key, value[:-1]),
            (key, b"\xff\xfe" + value),
            (b"someone else", value),
            (None, value),
            (key, None),
            (key, json.dumps(raw | {"amount": -1}).encode()),
            (key, json.dumps(raw | {"event_type": "steal"}).encode()),
            (key, json.dumps(raw | {"timestamp": "2999-01-01T00:00:00Z"}).encode()),
            (key, json.dumps(raw | {"metadata": {"x": "y" * 70_000}}).encode()),
        ]
        return Sent(message.number, POISON, *self._draw.choice(bad))


def main(servers: str, folder: str, seed: str, rate: str, partitions: str) -> None:
    """Send until SIGTERM; then send the last canaries and flush."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ledger = Ledger(Path(folder))
    first = wall_clock() // 100  # a restarted producer has higher numbers than the previous one
    traffic = _Traffic(f"{seed} {first}", first, int(partitions))
    server = await_broker(servers, timeout_s=60)
    ensure_topics(server, partitions=int(partitions), timeout_s=60)
    with Sender(server, EVENTS_TOPIC, float(rate)) as sender:

        def send(message: Sent) -> None:
            def acknowledged(partition: int, offset: int) -> None:
                ledger.acknowledged(Acknowledged(message.number, partition, offset, wall_clock()))

            ledger.sent(message)
            sender.send(message.key, message.value, acknowledged)

        def note() -> None:
            print(sender.summary(pace.elapsed_s), flush=True)

        pace = Pace(stop, on_second=note)
        canary_s = 0.0
        for number in count():
            if not pace.until(number / float(rate)):
                break
            if time.monotonic() >= canary_s:
                canary_s = time.monotonic() + _CANARY_S
                for message in traffic.canaries():
                    send(message)
            for message in traffic.next():
                send(message)
        for message in traffic.canaries():
            send(message)
        sender.flush()
        note()


if __name__ == "__main__":
    main(*sys.argv[1:])
