"""The real broker and store that tests run over: started once per test session (per worker, under xdist)."""

import itertools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import compiled
import pytest
from redis import Redis

with warnings.catch_warnings():
    # kafka-python 3.0 reads its protocol with a function that Python 3.11 and 3.12 call deprecated.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    from kafka import KafkaAdminClient, TopicPartition
    from kafka.errors import KafkaError
    from kafka.structs import OffsetAndMetadata

from chaos.redis_cluster import RedisCluster
from object_store import object_store
from polling import poll_until
from stores import client_of

from data.errors import EncoreError
from data.filesystem.place import Place, open_place
from events.kafka.topics import ensure_topics
from features.batch.spark.session import SparkConnection
from features.plan.plan import Plan
from features.state.memory import MemoryStates
from features.state.online.cluster import LateCluster
from features.state.online.states import OnlineStates
from features.state.states import States
from server.process.java import find_java
from server.process.kafka_broker import KafkaBroker
from server.process.kafka_jars import fetch_connector, fetch_jars
from server.process.server_process import free_port
from server.process.store import Store

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """Apache Kafka's jars; skips where they or Java cannot be had, unless REQUIRE_APACHE_KAFKA forbids it."""
    try:
        find_java()
        return fetch_jars()
    except EncoreError as error:
        if os.environ.get("REQUIRE_APACHE_KAFKA"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def broker(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """The embedded broker, started."""
    with KafkaBroker(free_port(), tmp_path_factory.mktemp("broker"), jars=kafka_jars) as running:
        ensure_topics(running.servers, "warm-up")
        poll_until(lambda: _takes_a_commit(running.servers))
        yield running


def _takes_a_commit(servers: str) -> bool:
    """A new broker makes its topic of offsets at the first commit, which it may refuse meanwhile."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        admin.alter_group_offsets("warm-up", {TopicPartition("warm-up", 0): OffsetAndMetadata(0, "", -1)})
    except KafkaError:
        return False
    else:
        return True
    finally:
        admin.close()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The embedded store, started."""
    with Store(free_port(), tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def kafka_servers(broker: KafkaBroker) -> str:
    """The broker's address, as Kafka clients take it."""
    return broker.servers


@pytest.fixture
def topic(broker: KafkaBroker) -> str:
    """A topic of this test alone: four partitions, empty, with its dead-letter topic."""
    name = f"events-{next(_numbers)}"
    ensure_topics(broker.servers, name)
    return name


@pytest.fixture(scope="session")
def store_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A Redis Cluster of three nodes, started."""
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkConnection]:
    """Spark on a cluster of two executors of this machine, running until the last test has ended.

    It takes half a minute to start, so that it is started once, and what tests open finds it running. Skips, and says
    so, where pyspark or Java is missing.
    """
    try:
        with pytest.MonkeyPatch.context() as environment:
            # Short queries: what Java's second compiler does would never pay.
            environment.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
            jars = ",".join(map(str, fetch_connector()))
            # A few rows are shuffled: in 200 parts, as by default, most of the time is that of empty tasks.
            options = {"spark.jars": jars, "spark.sql.shuffle.partitions": "4"}
            connection = SparkConnection("local-cluster[2,1,1024]", options)
    except EncoreError as error:
        if "not installed" in str(error) or "Java" in str(error):
            pytest.skip(str(error))
        raise
    yield connection
    connection.close()


@contextmanager
def _empty_store(request: pytest.FixtureRequest, kind: str) -> Iterator[Any]:
    """A client of the store, or of the Redis Cluster; it is empty."""
    if kind == "cluster":
        node = request.getfixturevalue("store_cluster").nodes[0]
        client: Any = LateCluster(host=node.host, port=node.port)
    else:
        store = request.getfixturevalue("store")
        client = client_of(store)
    try:
        client.flushall()
        yield client
    finally:
        client.close()


@pytest.fixture
def redis_client(request: pytest.FixtureRequest) -> Iterator["Redis[bytes]"]:
    """A client of the store, which is empty when the test starts; of the Redis Cluster for tests that ask for it
    ("cluster", indirectly)."""
    with _empty_store(request, getattr(request, "param", "one")) as client:
        yield client


@pytest.fixture
def states(request: pytest.FixtureRequest) -> Iterator[States]:
    """An empty store of states: in memory, or the one that a test asks for ("redis", "cluster", indirectly)."""
    kind = getattr(request, "param", "memory")
    if kind == "memory":
        yield MemoryStates()
        return
    with _empty_store(request, kind) as client:
        yield OnlineStates(client)


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The compiled definitions of features/definitions.py."""
    return compiled.plan()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the plan and a champion of every feature."""
    from serving import make_home, plan, promote, tiny_model  # as Feast does, the server's libraries take their time

    home = make_home(tmp_path / "home")
    promote(home, tiny_model(plan().names))
    return home


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Addresses of folders in an object store, as `object_store` says."""
    with object_store() as addresses:
        yield addresses


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.integration)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A folder of this test alone, on this machine and in an object store."""
    if request.param == "folder":
        return open_place(str(tmp_path / "backups"))
    addresses: str = request.getfixturevalue("bucket")
    return open_place(addresses.format(tmp_path.name))
