"""Traffic in a separate program: visitors who come once, look, ask and buy. `python -m week.traffic RATE ASKED`.

`RATE` events and `ASKED` questions per second until SIGTERM; one message in a hundred is invalid, one is sent twice.
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
_INVALID, _TWICE = 0.01, 0.01


def main() -> None:
    rate, question_rate = map(float, sys.argv[1:])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = read_settings()
    visits = _visits(random.Random(7))
    recent: deque[tuple[str, str]] = deque([("nobody", "p1")], maxlen=50)
    asking = threading.Thread(target=_ask, args=(settings, recent, question_rate, stop), daemon=True)
    asking.start()
    producer = Producer({"bootstrap.servers": settings.kafka_servers, "linger.ms": 100})
    dice = random.Random(11)
    while not stop.wait(1 / rate):
        event = next(visits)
        message = json.dumps(event).encode()
        for _ in range(2 if dice.random() < _TWICE else 1):
            value = message[:-9] if dice.random() < _INVALID else message
            producer.produce(settings.kafka_names.events, value, event["visitor_id"].encode())
        recent.append((event["visitor_id"], event["product_id"]))
        producer.poll(0)
    producer.flush(10)
    asking.join(10)


def _visits(dice: random.Random) -> Iterator[dict[str, Any]]:
    """Yield events endlessly, of a few visitors at a time; each visitor has a few events, and never returns."""
    active = [_visitor(dice) for _ in range(20)]
    while True:
        place = dice.randrange(len(active))
        visitor, left, likes = active[place]
        product = f"p{int(dice.random() ** 2 * _PRODUCTS)}"
        now_us = wall_clock()
        bought = dice.random() < likes
        yield {
            "event_id": str(uuid.UUID(int=dice.getrandbits(128))),
            "event_type": "purchase" if bought else "view",
            "timestamp": from_micros(now_us).isoformat(),
            "visitor_id": visitor,
            "product_id": product,
            "campaign": f"c{now_us // HOUR_US}",  # a new one each hour
            "amount": round(dice.random() * 100, 2) if bought else 0,
        }
        active[place] = (visitor, left - 1, likes) if left > 1 else _visitor(dice)


def _visitor(dice: random.Random) -> tuple[str, int, float]:
    return f"v{dice.getrandbits(48):x}", dice.randint(2, 9), dice.choice((0.02, 0.1, 0.5))


def _ask(settings: Settings, recent: deque[tuple[str, str]], question_rate: float, stop: threading.Event) -> None:
    """Ask whether a recent visitor buys the product that they looked at."""
    url = http_url(settings.api_host, settings.api_port)
    dice = random.Random(13)
    while not stop.wait(1 / question_rate):
        visitor, product = dice.choice(tuple(recent))
        question = urllib.parse.urlencode({"visitor_id": visitor, "product_id": product})
        try:
            with urllib.request.urlopen(f"{url}/predict?{question}", timeout=10) as answer:
                answer.read()
        except OSError:
            continue  # the API is starting, or has no model yet


if __name__ == "__main__":
    main()
