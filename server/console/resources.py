"""Resources of the pages: made once for all visitors, except the API's client, which carries a visitor's key."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import redis
import streamlit as st

from data.addresses import http_url
from data.errors import EncoreError
from events.kafka.inspector import Inspector
from features.plan.cache import load_plan
from features.plan.plan import Plan
from model.targets import first_target
from server.api.asgi.callers import Callers
from server.console.calculators.live_feed import LiveFeed
from server.console.client import Api
from server.event_log import open_log
from server.jobs.build import kept_shop
from server.jobs.status import Observer
from server.redis.connections import connect_redis
from server.redis.editions import open_live, states_of
from server.scoring.clock import choose_clock
from server.settings import Settings, read_settings

if TYPE_CHECKING:
    from server.console.calculators.event_history import EventHistory

__all__ = [
    "KEY",
    "api",
    "api_key",
    "busiest",
    "callers",
    "clock",
    "feed",
    "history",
    "inspect",
    "plan",
    "product_names",
    "redis_client",
    "served_targets",
    "settings",
]

KEY = "api_key"
"""The entry of a visitor's session that holds the API key."""

_CHOICES = 2_000
"""Number of users and products listed; any other can be typed."""

T = TypeVar("T")


@st.cache_resource
def settings() -> Settings:
    """Return the settings of this process."""
    return read_settings()


@st.cache_resource
def callers() -> Callers:
    """Return who may look."""
    return Callers.of(settings())


def api() -> Api:
    """Return the API's client, with this visitor's key."""
    found = settings()
    return Api(http_url(found.api_host, found.api_port), key=api_key())


def api_key() -> str:
    """Return this visitor's key, empty if none was typed. Answers to one key must not be shown to another visitor."""
    return str(st.session_state.get(KEY, ""))


def feed() -> LiveFeed:
    """Return recent status."""
    return _watch()[1]


@st.cache_resource(on_release=lambda watch: watch[0].close())
def _watch() -> tuple[Observer, LiveFeed]:
    observer = Observer(settings(), kafka_wait_s=0.3)
    return observer, LiveFeed(observer.look)


def inspect(ask: Callable[[Inspector], T]) -> T:
    """Call `ask` with the shared inspector of Kafka, one visitor at a time."""
    inspector, lock = _inspector()
    with lock:
        return ask(inspector)


@st.cache_resource(on_release=lambda inspector: inspector[0].close())
def _inspector() -> tuple[Inspector, threading.Lock]:
    return Inspector(settings().kafka_servers, wait_s=0.3, access=settings().kafka_access), threading.Lock()


def clock() -> int:
    """Return the system's present time (UTC µs)."""
    return choose_clock(settings().clock, states_of(redis_client(), settings()))()


@st.cache_resource(on_release=lambda client: client.close())
def redis_client() -> "redis.Redis":
    """Return a client of Redis."""
    return connect_redis(settings())


def history() -> "EventHistory":
    """Return queries of the event log."""
    from server.console.calculators.event_history import EventHistory  # noqa: PLC0415 - it imports DuckDB and Ibis

    return EventHistory(open_log(settings()), plan(), memory=settings().duckdb_memory)


@st.cache_data(ttl=10, show_spinner=False)
def served_targets(key: str) -> list[str]:  # noqa: ARG001 - part of the cache's key
    """Return the targets that have a champion, the project's first one first; none where the API does not tell."""
    try:
        found = [target["target"] for target in api().get("/models")["targets"] if target["champion"]]
    except EncoreError:
        return []
    first = first_target(settings().declared)
    return sorted(found, key=lambda name: (name != first, name))


@st.cache_data(ttl=300, show_spinner="looking who and what there is …")
def busiest(column: str) -> list[str]:
    """Return the busiest users or products (or whatever a question names in this column) of the event log."""
    return history().most_active(column, _CHOICES)


@st.cache_resource(show_spinner="looking up names …")
def product_names() -> dict[str, str]:
    """Return names of products, if the shop that made the history is known."""
    shop = kept_shop(settings())
    if shop is None:
        return {}
    from data.shop.shop import Shop  # noqa: PLC0415 - it imports Faker

    catalogue = Shop(shop).catalogue
    return dict(zip(catalogue.ids, catalogue.names, strict=True))


@st.cache_resource(ttl=5, show_spinner=False)
def plan() -> Plan:
    """Return the compiled features that answer now; where Redis is away, those of the definitions."""
    try:
        return open_live(redis_client(), settings()).plan
    except EncoreError:
        return load_plan(settings().plan, settings().declared)
