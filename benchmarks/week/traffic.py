"""Visitors who come once, look, ask and buy, in a program of its own: `python -m week.traffic RATE ASKED`.

`RATE` events and `ASKED` questions a second until SIGTERM; one message in a hundred is no event, one is sent again.
"""

import json
import random
import signal
import sys
import threading
import urllib.parse
import urllib.request
import uuid
from collections import deque
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Producer

from data.addresses import http_url
from data.clock import wall_clock
from data.units import HOUR_US, from_micros
from server.settings import Settings, read_settings

_PRODUCTS = 200
_SPOILT, _AGAIN = 0.01, 0.01


def main() -> None:
    rate, asked = map(float, sys.argv[1:])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = read_settings()
    visits = _visits(random.Random(7))
    lately: deque[tuple[str, str]] = deque([("nobody", "p1")], maxlen=50)
    asking = threading.Thread(target=_ask, args=(settings, lately, asked, stop), daemon=True)
    asking.start()
    producer = Producer({"bootstrap.servers": settings.kafka_servers, "linger.ms": 100})
    dice = random.Random(11)
    while not stop.wait(1 / rate):
        event = next(visits)
        message = json.dumps(event).encode()
        for _ in range(2 if dice.random() < _AGAIN else 1):
            value = message[:-9] if dice.random() < _SPOILT else message
            producer.produce(settings.kafka_names.events, value, event["visitor_id"].encode())
        lately.append((event["visitor_id"], event["product_id"]))
        producer.poll(0)
    producer.flush(10)
    asking.join(10)


def _visits(dice: random.Random) -> Iterator[dict[str, Any]]:
    """Endless events of visitors of whom a few are there at a time; each has a few, and never comes again."""
    there = [_visitor(dice) for _ in range(20)]
    while True:
        place = dice.randrange(len(there))
        visitor, left, likes = there[place]
        product = f"p{int(dice.random() ** 2 * _PRODUCTS)}"
        now_us = wall_clock()
        bought = dice.random() < likes
        yield {
            "event_id": str(uuid.UUID(int=dice.getrandbits(128))),
            "event_type": "purchase" if bought else "view",
            "timestamp": from_micros(now_us).isoformat(),
            "visitor_id": visitor,
            "product_id": product,
            "campaign": f"c{now_us // HOUR_US}",  # another one each hour
            "amount": round(dice.random() * 100, 2) if bought else 0,
        }
        there[place] = (visitor, left - 1, likes) if left > 1 else _visitor(dice)


def _visitor(dice: random.Random) -> tuple[str, int, float]:
    return f"v{dice.getrandbits(48):x}", dice.randint(2, 9), dice.choice((0.02, 0.1, 0.5))


def _ask(settings: Settings, lately: deque[tuple[str, str]], asked: float, stop: threading.Event) -> None:
    """Ask whether somebody who was there lately buys what they looked at."""
    url = http_url(settings.api_host, settings.api_port)
    dice = random.Random(13)
    while not stop.wait(1 / asked):
        visitor, product = dice.choice(tuple(lately))
        question = urllib.parse.urlencode({"visitor_id": visitor, "product_id": product})
        try:
            with urllib.request.urlopen(f"{url}/predict?{question}", timeout=10) as answer:
                answer.read()
        except OSError:
            continue  # it starts, or has no model yet


if __name__ == "__main__":
    main()
