"""Forgetting a person while everything runs: nothing of them is left, others lose nothing, nothing comes back."""

import json
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
from event_streams import Act, act, as_history
from kafka import KafkaProducer
from polling import poll_until
from prediction_stream import prediction
from pydantic import SecretStr
from redis import Redis
from serving import TestClient, make_home, plan, promote, tiny_model
from system import SystemHere

from data.errors import ConfigurationError, UnavailableError
from data.event import encode_event
from data.log.event_log import EventLog
from data.log.person import Person
from data.units import HOUR_US
from events.kafka.topics import dead_letter_topic, ensure_topics
from events.predictions.archive import Archived, PredictionArchive
from events.predictions.message import encode_prediction
from events.stream.heartbeat import Heartbeats, WorkerStatus
from server.api.app import create_app
from server.api_keys import make_key
from server.jobs.build import materialize
from server.jobs.privacy.forget import forget
from server.jobs.privacy.known import export_person
from server.jobs.rollout.lease import held
from server.jobs.rollout.rollout import rebuild
from server.jobs.stream import run_worker
from server.process.kafka_broker import KafkaBroker
from server.process.store import Store
from server.redis.editions import open_live
from server.scoring.kept_predictions import open_archive, read_predictions
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
    """A home with a history, a model, predictions, and a project of this test alone."""
    home = make_home(tmp_path / "home")
    promote(home, tiny_model(plan().names))
    as_history(EventLog(home / "log"), events(60))
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
    kept = [Archived(0, n, msgspec.structs.replace(prediction(n), user_id=USERS[n % 3])) for n in range(30)]
    PredictionArchive(made.predictions).append("of-before", kept)
    return made


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """That home, with its states."""
    materialize(settings, quiet)
    return settings


def _of_before(client: "Redis[bytes]", settings: Settings, name: str) -> bytes:
    """What a worker said last, a minute ago."""
    at_s, _, said = (client.hget(f"{settings.project}:last_beats", name) or b"").partition(b" ")
    return b"%d %b" % (int(at_s) - 60, said)


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


@pytest.mark.long
def test_a_person_is_forgotten_while_everything_runs(filled: Settings, redis_client: "Redis[bytes]") -> None:
    settings = filled
    with worker(settings):
        send(settings, events(60, 60), b"no event", b'{"user_id": "ben"}')
        send(settings, [], b"still none")
        poll_until(lambda: folded(settings, redis_client) >= 60)
        poll_until(lambda: len(letters_of(settings)) == 3)
        before = export_person(settings, PERSON)
        assert len(before["events"]) >= 20
        assert len(before["predictions"]) == 10
        assert {one["entity"] for one in before["states"]} == {"user", "user_product", "user_category"}
        receipt = forget(settings, PERSON, quiet)
        # They come again, and others go on.
        send(settings, events(30, 120), b"again no event")
        poll_until(lambda: folded(settings, redis_client) >= 80)
        poll_until(lambda: sum(one.suppressed for one in beats(settings, redis_client)) == 11)
        poll_until(lambda: len(set(logged(settings))) == 100)
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
    assert differing(live, log) == ["product: 4 states"], "others are as if they had never been there, one is empty"
    assert rebuild(settings, quiet)["user"] == 2
    assert places_of(THEM, redis_client, settings.log, settings.predictions) == []
    assert export_person(settings, PERSON)["events"] == []


@pytest.mark.long
def test_who_is_interrupted_runs_it_again(
    filled: Settings, redis_client: "Redis[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: object) -> None:
        raise KeyboardInterrupt

    silent = Heartbeats(redis_client, filled.project)
    for name, reason in (("hung", f"1:2 wrong_key: key '{THEM}'"), ("hung-too", "1:3 empty: no value")):
        silent.beat(WorkerStatus(name, 1, 1, 0, 0, 0.0, {}, 0, {}, {}, None, reason))
        redis_client.delete(f"{filled.project}:worker:{name}")
        redis_client.hset(f"{filled.project}:last_beats", name, _of_before(redis_client, filled, name))
    for step in ("_await_workers", "_look", "_take_out", "_rebuild_others", "_topics"):
        with monkeypatch.context() as patch:
            patch.setattr(f"server.jobs.privacy.forget._Forgetting.{step}", ends)
            with pytest.raises(KeyboardInterrupt):
                forget(filled, PERSON, quiet)
    receipt = forget(filled, PERSON, quiet)
    assert (receipt.events, receipt.predictions, receipt.states["user"]) == (20, 10, 1)
    assert receipt.remade.keys() == {"product", "category"}
    assert [last.status.worker for last in silent.silent()] == ["hung-too"], "nobody's name is in what it said"
    assert places_of(THEM, redis_client, filled.log, filled.predictions, filled.run) == []
    assert differing(open_live(redis_client, filled), EventLog(filled.log)) == ["product: 4 states"]


def test_who_works_with_an_older_list_is_waited_for(
    settings: Settings, redis_client: "Redis[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.jobs.privacy.forget._PATIENCE_S", 0.1)
    told = WorkerStatus("of-before", 1, 1, 0, 0, 0.0, {}, 0, {}, {}, None, suppression=0)
    Heartbeats(redis_client, settings.project).beat(told)
    with pytest.raises(UnavailableError, match="of-before does not say that it refuses"):
        forget(settings, PERSON, quiet)
    assert len(export_person(settings, PERSON)["events"]) == 20, "nothing is deleted before"
    with held(redis_client, settings.project), pytest.raises(UnavailableError, match="another rollout"):
        forget(settings, PERSON, quiet)
    monkeypatch.setattr("server.jobs.privacy.forget.processes_in", lambda _: ["encore train (process 7)"])
    with pytest.raises(ConfigurationError, match=r"encore train \(process 7\) reads the events that are to go"):
        forget(settings, PERSON, quiet)


@pytest.mark.long
def test_a_prediction_on_its_way_is_not_kept(settings: Settings) -> None:
    names, archive = settings.kafka_names, open_archive(settings)
    forget(settings, PERSON, quiet)
    ensure_topics(settings.kafka_servers, names.predictions)
    producer = KafkaProducer(bootstrap_servers=settings.kafka_servers)
    for number in range(6):
        one = msgspec.structs.replace(prediction(number), id=f"late-{number}", user_id=USERS[number % 3])
        producer.send(names.predictions, key=one.user_id.encode(), value=encode_prediction(one))
    producer.close()
    with read_predictions(settings, archive) as reader:
        assert reader.take_all() == 6
    late = archive.read(["id", "user_id"], target="repeat_purchase").to_pylist()
    assert sorted(one["id"] for one in late if one["id"].startswith("late")) == ["late-1", "late-2", "late-4", "late-5"]


@pytest.mark.long
def test_the_commands_say_what_they_do(settings: Settings, tmp_path: Path) -> None:
    system = SystemHere(settings.home)

    def run(*command: str, servers: str = settings.kafka_servers) -> Any:
        names = {"ENCORE_PROJECT": settings.project, "ENCORE_CLOCK": "events", "KAFKA_SERVERS": servers}
        return system.run(*command, REDIS_PORT=str(settings.redis_port), **names)

    done = run("forget", "user_id=nobody-at-all", "--yes")
    assert (done.returncode, done.stdout[:39]) == (0, "nothing is known of user_id=nobody-at-a")
    wrong = run("forget", "device=phone", "--yes")
    assert (wrong.returncode, "one of user_id, product_id" in wrong.stderr) == (2, True)
    output = tmp_path / "ann.json"
    assert run("export-person", str(PERSON), "--output", str(output)).returncode == 0
    assert len(json.loads(output.read_bytes())["events"]) == 20
    done = run("forget", str(PERSON), "--yes")
    assert done.returncode == 0, done.stderr
    assert "forgotten: 20 events in 1 files of the log" in done.stdout
    away = run("forget", str(PERSON), "--yes", servers="127.0.0.1:1")
    assert (away.returncode, "left: topics: " in away.stdout) == (1, True)


@pytest.mark.long
def test_only_an_administrator_forgets(settings: Settings) -> None:
    (reader_secret, reader), (boss_secret, boss) = make_key("reader", "operate"), make_key("boss", "admin")
    keyed = settings.model_copy(update={"api_keys": SecretStr(f"{reader},{boss}"), "predictions_topic": "off"})
    body = {"person": {"user_id": THEM}}
    with TestClient(create_app(keyed), base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as api:

        def ask(secret: str, body: Any = body) -> Any:
            return api.post("/privacy/forget", json=body, headers={"X-API-Key": secret})

        refused = ask(reader_secret)
        assert (refused.status_code, "this needs admin" in refused.json()["detail"]) == (403, True)
        assert ask("").status_code == 401
        assert ask(boss_secret, {"person": {}}).status_code == 422
        assert ask(boss_secret, {"person": {"device": "phone"}}).status_code == 409
        done = ask(boss_secret)
    assert done.status_code == 200, done.text
    assert (done.json()["events"], done.json()["known"]) == (20, True)
