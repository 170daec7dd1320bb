"""What the console's tests share: a small system without traffic (store, broker, log, model, API), and its pages."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from polling import poll_until
from serving import SHOPPING, fold_events, make_app, make_home, plan, promote, tiny_model

from data.default_shop import ShopEvent
from data.log.event_log import EventLog
from data.log.event_table import PlacedEvent, placed_table
from data.units import MICROS, from_micros
from features.facts import Fact
from features.state.online.states import OnlineStates
from server.process.server_process import free_port
from server.redis.connections import connect_redis
from server.settings import read_settings

__all__ = ["Shop", "running_shop"]


class Shop:
    """A home whose API answers at a port, and what the environment must say for the console to find it all."""

    def __init__(self, home: Path, environment: dict[str, str], server: uvicorn.Server) -> None:
        self.home = home
        self.environment = environment
        self._server = server
        self._thread = threading.Thread(target=server.run, name="api")

    def start(self) -> None:
        self._thread.start()
        poll_until(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@contextmanager
def running_shop(home: Path, servers: str, redis_host: str, redis_port: int) -> Iterator[Shop]:
    """The shop of `serving.SHOPPING`, its clock at the newest event; Redis must be empty."""
    make_home(home)
    promote(home, tiny_model(plan().names))
    write_log(home, SHOPPING)
    api_port = free_port()
    environment = {
        "ENCORE_HOME": str(home),
        "ENCORE_CLOCK": "events",
        "KAFKA_SERVERS": servers,
        "REDIS_HOST": redis_host,
        "REDIS_PORT": str(redis_port),
        "API_PORT": str(api_port),
    }
    settings = read_settings(home=home, redis_host=redis_host, redis_port=redis_port)
    with connect_redis(settings) as client:
        fold_events(OnlineStates(client))
    app = make_app(home, redis_host, redis_port, kind="events")
    shop = Shop(home, environment, uvicorn.Server(uvicorn.Config(app, port=api_port, log_level="warning")))
    shop.start()
    try:
        yield shop
    finally:
        shop.stop()


def write_log(home: Path, facts: Sequence[Fact]) -> None:
    """The events as the stream worker logs them."""
    placed = []
    for offset, fact in enumerate(facts):
        fields: dict[str, Any] = fact._asdict()
        moment, amount = from_micros(fields.pop("timestamp_us")), fields.pop("amount") / MICROS
        placed.append(PlacedEvent(offset, ShopEvent(**fields, timestamp=moment, amount=amount)))
    EventLog(home / "log").append("shop-test", 0, range(len(placed)), placed_table(placed))
