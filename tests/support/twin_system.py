"""What a worker's session works on, all of it in memory: a topic, states, a log; nothing here starts a server."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
from background import in_background
from event_streams import START_US
from polling import poll_until

from data.clock import ManualClock
from data.event import Event, encode_event
from data.log.log import Log
from data.log.memory import MemoryLog
from data.units import DAY_US
from events.kafka.memory import MemoryConsumer, MemoryTopic
from events.kafka.patience import no_one
from events.stream.account import Account
from events.stream.parts import Confirmation, Limits, Parts
from events.stream.session import Session
from features.plan.plan import Plan
from features.state.memory import MemoryStates
from features.state.online.replication import NO_REPLICATION
from features.state.states import EntityKey, States
from features.state.values import EntityValues

__all__ = ["GROUP", "TwinSystem"]

GROUP = "encore-stream"


class TwinSystem:
    """A topic, a store and a log, all empty, and a clock a year after the events."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.topic = MemoryTopic()
        self.states = MemoryStates()
        self.log: Log = MemoryLog()
        self.clock = ManualClock(START_US + 365 * DAY_US)
        self.replication: Confirmation = NO_REPLICATION

    def session(
        self,
        states: States | None = None,
        member: MemoryConsumer | None = None,
        waits: Callable[[Exception], None] = no_one,
        **limits: float,
    ) -> Session:
        """A session of this member of the group, or of a new one."""
        connection = self.topic.connect(GROUP)
        parts = Parts(
            plan=self.plan,
            states=states or self.states,
            log=self.log,
            limits=Limits(**{"flush_s": 0.0, **limits}),  # type: ignore[arg-type]
            replication=self.replication,
            clock=self.clock,
        )
        connection = replace(connection, member=member or connection.member)
        return Session(parts, connection, Account(self.clock()), waits=waits)

    @contextmanager
    def running(
        self, states: States | None = None, member: MemoryConsumer | None = None, **limits: float
    ) -> Iterator[None]:
        """A session in a thread; stopped, and its error raised, at the end."""
        session = self.session(states, member, no_one, **limits)

        def work(stop: threading.Event) -> None:
            self.replication.begin()
            with session:
                while not stop.is_set() and session.turn(stop):
                    pass

        with in_background(work):
            yield

    def produce(self, events: Sequence[Event]) -> None:
        for event in events:
            self.topic.send(event.user_id.encode(), encode_event(event))

    def logged(self) -> list[str]:
        """Ids of the events in the log, in its order."""
        tables = list(self.log.tables())
        return pa.concat_tables(tables)["event_id"].to_pylist() if tables else []

    def await_logged(self, rows: int) -> None:
        poll_until(lambda: len(self.logged()) >= rows)

    def committed(self) -> int:
        return sum(offset for offset, _ in self.topic.committed(GROUP).values())

    def values(self, entity: str, *ids: str) -> dict[str, object]:
        of = EntityValues(self.plan.of(entity))
        (stored,) = self.states.read([EntityKey(entity, ids)])
        state = of.algebra.decode(stored.state) if stored.state else None
        return dict(zip(of.names, of.get(state, self.clock()), strict=True))
