"""The real broker and store that tests run over: one pair per test session (per worker, under xdist)."""

import itertools
import warnings
from collections.abc import Iterator

import pytest
from redis import Redis

with warnings.catch_warnings():
    # kafka-python 3.0 reads its protocol with a function that Python 3.11 and 3.12 call deprecated.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    import kafka  # noqa: F401

from events.topics import ensure_topics
from features.plan import Plan
from features.plan_cache import load_plan
from server.embedded import Broker, Store, free_port

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The embedded broker, started."""
    with Broker(free_port(), tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The embedded store, started."""
    with Store(free_port(), tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def kafka_servers(broker: Broker) -> str:
    """The broker's address, as Kafka clients take it."""
    return broker.servers


@pytest.fixture
def topic(broker: Broker) -> str:
    """A topic of this test alone: four partitions, empty, with its dead-letter topic."""
    name = f"events-{next(_numbers)}"
    ensure_topics(broker.servers, name)
    return name


@pytest.fixture
def redis_client(store: Store) -> Iterator["Redis[bytes]"]:
    """A client of the store, which is empty when the test starts."""
    with Redis(host=store.host, port=store.port) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The compiled definitions of features/definitions.py."""
    return load_plan(tmp_path_factory.mktemp("plan") / "plan.json")
