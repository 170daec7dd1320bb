"""What a stream worker works on: a topic of its own, an empty store, a log; and a shop's events."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from background import in_background
from consuming import read_topic
from event_streams import START_US
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import CoordinatorNotAvailableError
from polling import poll_until
from redis import Redis

from data.clock import ManualClock
from data.event import Event, encode_event
from data.log.event_log import EventLog
from data.units import DAY_US
from events.kafka.topics import dead_letter_topic
from events.stream.heartbeat import Heartbeats, WorkerStatus
from events.stream.parts import Confirmation, Limits, Parts
from events.stream.worker import Worker, WorkerOptions
from events.trace import NO_TRACE, Trace
from features.plan.plan import Plan
from features.state.online.owner import Owner
from features.state.online.replication import NO_REPLICATION
from features.state.online.states import OnlineStates
from features.state.states import EntityKey, States
from features.state.values import EntityValues

__all__ = ["GROUP", "System"]


GROUP = "encore-stream"


class System:
    """What a worker works on: a topic of its own, an empty store, a log, and a clock a year after the events."""

    def __init__(self, plan: Plan, servers: str, topic: str, client: "Redis[bytes]", log: EventLog) -> None:
        self.plan, self.servers, self.topic, self.client, self.log = plan, servers, topic, client, log
        self.states = OnlineStates(client)
        self.heartbeats = Heartbeats(client, "encore")
        self.clock = ManualClock(START_US + 365 * DAY_US)
        self.replication: Confirmation = NO_REPLICATION
        self.owner: Owner | None = None
        self.trace: Trace = NO_TRACE

    @property
    def redis_port(self) -> int:
        port: int = self.client.connection_pool.connection_kwargs["port"]
        return port

    def worker(self, name: str = "w", states: States | None = None, **limits: float) -> Worker:
        chosen = WorkerOptions(
            servers=self.servers,
            topic=self.topic,
            group=f"{GROUP}-{self.topic}",
            name=name,
            traced=self.trace is not NO_TRACE,
        )
        client = Redis(**self.client.connection_pool.connection_kwargs)
        parts = Parts(
            plan=self.plan,
            states=states or OnlineStates(client),
            log=self.log,
            limits=Limits(**{"flush_s": 0.0, **limits}),  # type: ignore[arg-type]
            replication=self.replication,
            clock=self.clock,
            owner=self.owner,
            trace=self.trace,
        )
        return Worker(chosen, parts, self.heartbeats)

    @contextmanager
    def running(self, name: str = "w", states: States | None = None, **limits: float) -> "Iterator[None]":
        """A worker in a thread; stopped, and its error raised, at the end."""
        with in_background(self.worker(name, states, **limits).run):
            yield

    def produce(self, events: Sequence[Event]) -> None:
        self.send([(event.user_id.encode(), encode_event(event)) for event in events])

    def send(self, messages: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        producer = KafkaProducer(bootstrap_servers=self.servers, max_request_size=20_000_000)
        for key, value in messages:
            producer.send(self.topic, key=key, value=value)
        producer.flush()
        producer.close()

    def logged(self) -> pa.Table:
        tables = list(self.log.tables())
        return pa.concat_tables(tables) if tables else pa.table({"event_id": pa.array([], pa.string())})

    def await_logged(self, rows: int) -> pa.Table:
        poll_until(lambda: self.logged().num_rows >= rows)
        return self.logged()

    def committed(self) -> int:
        admin = KafkaAdminClient(bootstrap_servers=self.servers)
        try:
            offsets = admin.list_group_offsets(f"{GROUP}-{self.topic}")[f"{GROUP}-{self.topic}"]
        except CoordinatorNotAvailableError:
            return 0  # nobody has committed anything yet
        finally:
            admin.close()
        return sum(max(0, one.offset) for one in offsets.values())

    def letters(self) -> list[Any]:
        return read_topic(self.servers, dead_letter_topic(self.topic))

    def beats(self) -> list[WorkerStatus]:
        """Heartbeats, of which there is one per second of the clock."""
        self.clock.now_us += 1_000_000
        return self.heartbeats.all()

    def values(self, entity: str, *ids: str) -> dict[str, object]:
        of = EntityValues(self.plan.of(entity))
        (stored,) = self.states.read([EntityKey(entity, ids)])
        state = of.algebra.decode(stored.state) if stored.state else None
        return dict(zip(of.names, of.get(state, self.clock()), strict=True))
