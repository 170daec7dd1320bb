"""Forgetting a person while everything runs: nothing of them is left, others lose nothing, nothing comes back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from background import in_background
from byte_scan import places_of
from consuming import read_topic
from editions import differing
from event_streams import Act, act
from kafka import KafkaProducer
from polling import poll_until
from prediction_stream import prediction
from redis import Redis
from serving import make_home, plan, promote, tiny_model

from data.event import encode_event
from data.log.event_log import EventLog
from data.person import Person
from data.units import HOUR_US
from events.kafka.topics import dead_letter_topic, ensure_topics
from events.predictions.archive import Kept, PredictionArchive
from events.stream.heartbeat import Heartbeats, WorkerStatus
from server.jobs.build import materialize
from server.jobs.privacy.forget import forget
from server.jobs.privacy.known import export_person
from server.jobs.rollout.rollout import rebuild
from server.jobs.stream import run_worker
from server.process.kafka_broker import KafkaBroker
from server.process.store import Store
from server.redis.editions import open_live
from server.settings import Settings, read_settings

THEM = "ann-unmistakable-9f3a7c"
PERSON = Person("user_id", THEM)
USERS = [THEM, "ben", "cleo"]
PRODUCTS = ["mug", "pot", "tea"]


def quiet(_: str) -> None:
    """Tell nobody."""


def events(number: int, first: int = 0) -> list[Any]:
    """Views and purchases; every third is theirs, and one product is bought by nobody else."""
    made = []
    for n in range(first, first + number):
        user = USERS[n % 3]
        product = "only-theirs" if user == THEM and n % 2 else PRODUCTS[n % 4 % 3]
        one = act(Act(("view", "purchase")[n % 2], user, product, n * HOUR_US, n / 4), f"e{n}")
        made.append(msgspec.structs.replace(one, category=("toys", "tools")[n % 2], session_id=f"s-{user}"))
    return made


@pytest.fixture
def settings(
    tmp_path: Path, broker: KafkaBroker, store: Store, redis_client: "Redis[bytes]", request: pytest.FixtureRequest
) -> Settings:
    """A home with a history, states, a model, predictions, and a project of this test alone."""
    home = make_home(tmp_path / "home")
    promote(home, tiny_model(plan().names))
    log = EventLog(home / "log")
    log.write_history("shop", [_table(events(60))])
    project = f"forget_{abs(hash(request.node.name)) % 10**9}"
    made = read_settings(
        home=home,
        redis_port=store.port,
        redis_host="127.0.0.1",
        kafka_servers=broker.servers,
        clock="events",
        project=project,
    )
    ensure_topics(broker.servers, made.kafka_names.events)
    materialize(made, quiet)
    kept = [Kept(0, n, msgspec.structs.replace(prediction(n), user_id=USERS[n % 3])) for n in range(30)]
    PredictionArchive(made.predictions).append("of-before", kept)
    return made


def _table(some: list[Any]) -> Any:
    from data.log.event_table import EVENT_COLUMNS, PlacedEvent, placed_table

    return placed_table([PlacedEvent(n, one) for n, one in enumerate(some)]).select(EVENT_COLUMNS.names)


def send(settings: Settings, some: list[Any], *letters: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=settings.kafka_servers)
    for event in some:
        producer.send(settings.kafka_names.events, key=event.user_id.encode(), value=encode_event(event))
    for value in letters:
        producer.send(settings.kafka_names.events, key=THEM.encode(), value=value)
    producer.flush()
    producer.close()


@contextmanager
def worker(settings: Settings) -> Iterator[None]:
    with in_background(lambda stop: run_worker(settings, stop, name="w")):
        yield


def beats(settings: Settings, client: "Redis[bytes]") -> list[WorkerStatus]:
    return Heartbeats(client, settings.project).all()


def folded(settings: Settings, client: "Redis[bytes]") -> int:
    return sum(one.folded for one in beats(settings, client))


def logged(settings: Settings) -> list[str]:
    tables = EventLog(settings.log).tables()
    return [one for table in tables for one in table.column("event_id").to_pylist()]


def letters_of(settings: Settings) -> list[Any]:
    return read_topic(settings.kafka_servers, dead_letter_topic(settings.kafka_names.events))


def test_a_person_is_forgotten_while_everything_runs(settings: Settings, redis_client: "Redis[bytes]") -> None:
    with worker(settings):
        send(settings, events(60, 60), b"no event", b'{"user_id": "ben"}')
        send(settings, [], b"still none")
        poll_until(lambda: folded(settings, redis_client) >= 60, 60)
        poll_until(lambda: len(letters_of(settings)) == 3, 60)
        before = export_person(settings, PERSON)
        assert len(before["events"]) >= 20
        assert len(before["predictions"]) == 10
        assert {one["entity"] for one in before["states"]} == {"user", "user_product", "user_category"}
        receipt = forget(settings, PERSON, quiet)
        # They come again, and others go on.
        send(settings, events(30, 120), b"again no event")
        poll_until(lambda: folded(settings, redis_client) >= 80, 60)
        poll_until(lambda: sum(one.suppressed for one in beats(settings, redis_client)) == 11, 60)
        poll_until(lambda: len(set(logged(settings))) == 100, 60)
    assert receipt.known
    assert receipt.person == {"user_id": THEM}
    assert (receipt.predictions, receipt.dead_letters) == (10, 3)
    assert receipt.states["user"] == 1
    assert receipt.remade.keys() == {"product", "category"}
    assert [one.topic for one in receipt.topics] == [
        dead_letter_topic(settings.kafka_names.events),
        settings.kafka_names.events,
    ]
    assert all(one.gone_by > receipt.at for one in receipt.topics)
    assert receipt.left == []
    assert letters_of(settings) == []
    assert places_of(THEM, redis_client, settings.log, settings.predictions, settings.run) == []
    live, log = open_live(redis_client, settings), EventLog(settings.log)
    assert log.holes() == []
    assert differing(live, log) == [], "products are as if they had never been there"
    assert rebuild(settings, quiet)["user"] == 2
    assert places_of(THEM, redis_client, settings.log, settings.predictions) == []
    assert export_person(settings, PERSON)["events"] == []


@pytest.mark.parametrize("step", ["_await_workers", "_look", "_take_out", "_make_anew", "_topics"])
def test_who_is_interrupted_runs_it_again(
    settings: Settings, redis_client: "Redis[bytes]", monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def ends(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"server.jobs.privacy.forget._Forgetting.{step}", ends)
        with pytest.raises(KeyboardInterrupt):
            forget(settings, PERSON, quiet)
    receipt = forget(settings, PERSON, quiet)
    assert (receipt.events, receipt.predictions, receipt.states["user"]) == (20, 10, 1)
    assert receipt.remade.keys() == {"product", "category"}
    assert places_of(THEM, redis_client, settings.log, settings.predictions, settings.run) == []
    assert differing(open_live(redis_client, settings), EventLog(settings.log)) == []
