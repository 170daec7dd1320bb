"""A shop that is served live while its definitions change: a home, a worker, an API, events and questions."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
from background import in_background
from event_streams import Act, act, as_history, as_log, place
from kafka import KafkaProducer
from msgspec.structs import replace
from polling import poll_until
from project_folder import make as make_project
from serving import make_home, plan, promote, served, tiny_model

from data.errors import DataError
from data.event import encode_event
from data.log.event_log import EventLog
from data.log.sources import newest_topic_id
from data.project import PROJECT, open_project
from data.units import HOUR_US
from features.batch.materializer import require_partitions
from features.state.editions.behind import ends_of
from server.api.app import create_app
from server.jobs.build import materialize
from server.jobs.stream import run_worker
from server.redis.connections import connect_redis
from server.redis.editions import open_live
from server.settings import Settings, read_settings

__all__ = ["CHANGED", "USERS", "Live", "changed", "live", "made"]

USERS = [f"u{n}" for n in range(10)]

_numbers = itertools.count(1)

_SCHEMA = """\
from data.default_shop import SHOP as BEFORE
from data.schema import Entity
from msgspec.structs import replace

SHOP = replace(BEFORE, entities=(*BEFORE.entities, Entity("device", ("device",))))
"""
_TARGETS = "from model.targets import TARGETS\n\n__all__ = ['TARGETS']\n"

CHANGED = """\
import featuretools as ft
from featuretools.primitives import Sum

from features.definitions import WINDOWS, define as before

__all__ = ["WINDOWS", "define"]


def define(shop):
    event = shop["events"].ww
    viewed = ft.Feature(event["event_type"]) == "view"
    seen = ft.Feature(event["quantity"], parent_dataframe_name="users", primitive=Sum, where=viewed)
    on_device = ft.Feature(event["quantity"], parent_dataframe_name="devices", primitive=Sum, where=viewed)
    return [*before(shop), seen.rename("user_seen_quantity"), on_device.rename("device_seen_quantity")]
"""
"""The package's own definitions, a feature more of which states know nothing, and one of an entity that is new."""


def changed(settings: Settings, folder: Path, features: str = CHANGED) -> Settings:
    """The settings of the same home after an edit of its definitions."""
    project = make_project(folder, schema_py=_SCHEMA, targets_py=_TARGETS, features_py=features)
    return settings.declared_by(open_project(project))


def made(
    folder: Path, redis_port: int, servers: str | None = None, events: int = 60, *, of_topic: bool = False
) -> Settings:
    """A home with a history, states and a model of the package's own definitions.

    `of_topic`: the history is of an earlier topic, and not an imported one. With a Kafka its project is its own: tests
    that run one after the other share it, and a group is one home's.
    """
    home = make_home(folder)
    promote(home, tiny_model(plan().names))
    acts = (act(Act("view", USERS[n % 10], f"p{n % 3}", n * HOUR_US), f"old-{n}") for n in range(events))
    history = [replace(event, device=("phone", "tablet")[n % 2]) for n, event in enumerate(acts)]
    if of_topic:
        as_log(EventLog(home / "log"), place(history, 4), topic=b"a topic long ago")
    else:
        as_history(EventLog(home / "log"), history)
    settings = read_settings(
        home=home,
        project=f"live{next(_numbers)}" if servers else PROJECT,
        redis_port=redis_port,
        redis_host="127.0.0.1",
        kafka_servers=servers or "127.0.0.1:1",
        clock="events",
    )
    materialize(settings, lambda _: None)
    return settings


class Live:
    """What is asked of a live system, and what it answers."""

    def __init__(self, settings: Settings, port: int) -> None:
        self.settings = settings
        self.sent = 0
        self.answers = 0
        self.cold = 0
        self.backwards = list[str]()
        self.failed = list[str]()
        self.plans = list[str]()
        self.ids = list[str]()
        self.seconds = list[float]()
        self._url = f"http://127.0.0.1:{port}"
        self.begun = self.views()

    def views(self) -> int:
        """How many views all users have, as the API says."""
        with httpx.Client(base_url=self._url, timeout=10) as client:
            return sum(client.get(f"/features/{user}").json()["features"]["user_view_count"] for user in USERS)

    def await_folded(self, events: int) -> None:
        """Return when so many of the events sent are in the answers, and the worker has noted how far it is.

        A rollout before that is refused: a worker writes its first file of a partition within seconds.
        """
        poll_until(lambda: self.views() >= self.begun + events and self.answers > 20 and self._are_noted())

    def _are_noted(self) -> bool:
        log = EventLog(self.settings.log)
        with connect_redis(self.settings) as client:
            edition = open_live(client, self.settings)
            try:
                require_partitions(edition.states, log)
            except DataError:
                return False
            topic = newest_topic_id(log.sources())
            return edition.marks.read(topic).keys() >= ends_of(log, topic).keys()

    def send(self, stop: threading.Event) -> None:
        """Send views, some hundreds a second."""
        producer = KafkaProducer(bootstrap_servers=self.settings.kafka_servers)
        while not stop.wait(0.03):
            for _ in range(3):
                n = self.sent
                event = act(Act("view", USERS[n % 10], f"p{n % 3}", (1_000 + n) * HOUR_US // 60), f"new-{n}")
                producer.send(self.settings.kafka_names.events, key=event.user_id.encode(), value=encode_event(event))
                self.sent += 1
        producer.flush()
        producer.close()

    def ask(self, stop: threading.Event) -> None:
        """Ask about everybody in turn: nobody is cold, and no count goes back."""
        views = dict.fromkeys(USERS, 0)
        with httpx.Client(base_url=self._url, timeout=10) as client:
            while not stop.wait(0.02):
                user = USERS[self.answers % 10]
                began = time.perf_counter()
                answer = client.post("/predict", json={"user_id": user, "product_id": "p0"})
                self.seconds.append(time.perf_counter() - began)
                self.answers += 1
                if answer.status_code != 200:
                    self.failed.append(answer.text)
                    continue
                if [named := answer.headers["x-feature-plan"]] != self.plans[-1:]:
                    self.plans.append(named)
                found = answer.json()
                self.cold += found["cold_start"]
                self.ids.append(found["prediction_id"])
                seen = found["features_used"]["user_view_count"]
                if seen < views[user]:
                    self.backwards.append(f"{user}: {seen} after {views[user]}")
                views[user] = seen


@contextmanager
def live(settings: Settings, *, workers: int = 1, kept: bool = False) -> Iterator[Live]:
    """Workers, an API, events and questions, all at once; in the end, all that was sent is in the answers.

    `kept`: the answers go to the topic of predictions.
    """
    keep = "on" if kept else "off"
    app = create_app(settings.model_copy(update={"predictions_topic": keep}), model_check_s=0.1)
    with served(app) as port:
        system = Live(settings, port)
        with in_background(system.ask), _workers(settings, workers):
            with in_background(system.send):
                yield system
            poll_until(lambda: system.views() == system.begun + system.sent)


@contextmanager
def _workers(settings: Settings, number: int) -> Iterator[None]:
    if not number:
        yield
        return
    with in_background(partial(_work, settings, f"w{number}")), _workers(settings, number - 1):
        yield


def _work(settings: Settings, name: str, stop: threading.Event) -> None:
    run_worker(settings, stop, name=name)
