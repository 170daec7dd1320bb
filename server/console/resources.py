"""Resources of the pages: made once for all visitors, except the API's client, which carries a visitor's key."""

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import redis
import streamlit as st

from data.addresses import http_url
from data.clock import wall_clock
from data.errors import ApiError, EncoreError, UnavailableError
from data.units import MINUTE_US
from events.kafka.inspector import Inspector
from features.plan.cache import load_plan
from features.plan.plan import Plan
from features.state.online.answers import ask
from model.targets import first_target
from server.api.asgi.callers import Callers
from server.console.calculators.answers import Asking, asking_of
from server.console.client import Api
from server.console.deadline import Deadline
from server.console.feature.words import FeatureWords
from server.console.watch.live_feed import LiveFeed
from server.event_log import open_log
from server.jobs.status import Observer
from server.meters.past import past_folder, read_past
from server.meters.prometheus import Prometheus
from server.meters.readings import readings_of
from server.meters.system import SystemMeters
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
    "asking",
    "busiest",
    "callers",
    "clock",
    "feature_words",
    "feed",
    "history",
    "inspect",
    "plan",
    "prometheus",
    "readings",
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
    """Return the check of visitors' keys."""
    return Callers.of(settings())


def api() -> Api:
    """Return the API's client with this visitor's key. Raises UnavailableError if it is silent for `_SILENT_S`.

    A page calls it many times: a hanging API is waited for once, and not as long as an answer may take.
    """
    config = settings()
    client = Api(http_url(config.api_host, config.api_port), key=api_key())
    if reason := _silence():
        raise UnavailableError(reason)
    return client


@st.cache_data(ttl=1.5, show_spinner=False)
def _silence() -> str:
    """Return why the API does not answer; empty where it does."""
    config = settings()
    try:
        Api(http_url(config.api_host, config.api_port), timeout_s=_SILENT_S).get("/health/live")
    except UnavailableError as error:
        return str(error)
    except ApiError:
        pass  # it answers
    return ""


_SILENT_S = 0.8
"""Time limit of the API's liveness check, s."""


def api_key() -> str:
    """Return this visitor's key, empty if none was typed. Answers to one key must not be shown to another visitor."""
    return str(st.session_state.get(KEY, ""))


def feed() -> LiveFeed:
    """Return recent status."""
    return _watch()[1]


@st.cache_resource(on_release=lambda watch: watch[0].close())
def _watch() -> tuple[Observer, LiveFeed]:
    observer = Observer(settings(), kafka_wait_s=0.3, api_wait_s=_SILENT_S)
    return observer, LiveFeed(observer.look)


@st.cache_data(ttl=2, show_spinner=False)
def readings() -> dict[str, float]:
    """Return the system's current numbers, by which alerts judge."""
    status = feed().looks(wall_clock())[-1]
    current = readings_of(status, _system().collect())
    past = read_past(past_folder(settings()), status.at_us - _LETTERS_US, status.at_us)
    before = past[0].values if past else {}
    if all(name in numbers for name in ("produced", "dead_letters") for numbers in (before, current)):
        produced, letters = (current[name] - before[name] for name in ("produced", "dead_letters"))
        if produced > 0 and letters >= 0:
            current["dead_letter_share"] = letters / produced
    return current


_LETTERS_US = 10 * MINUTE_US
"""Time over which the dead-letter alert measures, µs."""


@st.cache_resource
def _system() -> SystemMeters:
    return SystemMeters(settings())


def prometheus() -> Prometheus | None:
    """Return the Prometheus that the settings name."""
    url = settings().prometheus
    return Prometheus(url) if url else None


def inspect(query: Callable[[Inspector], T]) -> T:
    """Call `query` with the shared inspector of Kafka, one visitor at a time. Raises UnavailableError if it is late."""
    inspector, in_time = _inspector()
    return in_time(lambda: query(inspector))


@st.cache_resource(on_release=lambda inspector: inspector[0].close())
def _inspector() -> tuple[Inspector, Deadline]:
    servers = settings().kafka_servers
    reason = f"Kafka at {servers} does not answer within {_KAFKA_S:g} s; look whether it runs, and at KAFKA_SERVERS"
    return Inspector(servers, wait_s=0.3, access=settings().kafka_access), Deadline(reason, _KAFKA_S)


_KAFKA_S = 1.8
"""Time limit of a query to Kafka, s; reading the newest messages takes up to 1 s."""


def clock() -> int:
    """Return the system's present time (UTC µs)."""
    return choose_clock(settings().clock, states_of(redis_client(), settings()))()


def redis_client() -> "redis.Redis":
    """Return a client of Redis. Raises UnavailableError within `_SILENT_S` if it does not answer."""
    if reason := _redis_silence():
        raise UnavailableError(reason)
    return _redis()


@st.cache_resource(on_release=lambda client: client.close())
def _redis() -> "redis.Redis":
    return connect_redis(settings())


@st.cache_data(ttl=1.5, show_spinner=False)
def _redis_silence() -> str:
    """Return why Redis does not answer; empty where it does."""
    try:
        with closing(connect_redis(settings(), timeout_s=_SILENT_S / 2)) as client:
            ask(client.ping)
    except (EncoreError, redis.RedisError, OSError) as error:
        return (
            f"Redis at {settings().redis_host}:{settings().redis_port} does not answer ({error}). Start it with "
            "`encore infra`, or everything with `encore up`; REDIS_HOST and REDIS_PORT say where it is."
        )
    return ""


def history() -> "EventHistory":
    """Return queries of the event log."""
    from server.console.calculators.event_history import EventHistory  # noqa: PLC0415 - it imports DuckDB and Ibis

    return EventHistory(open_log(settings()), plan(), memory=settings().duckdb_memory)


@st.cache_data(ttl=10, show_spinner=False)
def served_targets(key: str) -> list[str]:  # noqa: ARG001 - part of the cache's key
    """Return the targets that have a champion, the project's first one first; none if the API does not answer."""
    try:
        names = [target["target"] for target in api().get("/models")["targets"] if target["champion"]]
    except EncoreError:
        return []
    main = first_target(settings().declared)
    return sorted(names, key=lambda name: (name != main, name))


@st.cache_data(ttl=300, show_spinner="looking who and what there is …")
def busiest(column: str) -> list[str]:
    """Return the busiest users or products (or whatever a question names in this column) of the event log."""
    return history().most_active(column, _CHOICES)


def asking(target: str, key: str) -> Asking | None:
    """Return the question that the target's champion answers; None if the API does not answer."""
    try:
        return _asking(target, key)
    except EncoreError:  # not kept: the API may answer the next time
        return None


@st.cache_data(ttl=30, show_spinner=False)
def _asking(target: str, key: str) -> Asking:  # noqa: ARG001 - part of the cache's key
    return asking_of(api().get(f"/models/{quote(target, safe='')}/champion")["report"])


@st.cache_resource(ttl=5, show_spinner=False)
def plan() -> Plan:
    """Return the plan that is live in Redis; if Redis is unreachable, the plan of the definitions."""
    try:
        return open_live(redis_client(), settings()).plan
    except EncoreError:
        return load_plan(settings().plan, settings().declared)


@st.cache_resource(ttl=60, show_spinner=False)
def feature_words() -> FeatureWords:
    """Return descriptions of the live plan's features."""
    return FeatureWords(plan())
