"""A session by hand over a topic in memory, editions of the states in Redis, and a log on disk."""

import threading
from dataclasses import replace

from editions import more_of_users
from event_streams import shop
from polling import poll_until
from redis import Redis
from twin_system import GROUP, TwinSystem

from data.log.event_log import EventLog
from events.kafka.memory import MemoryConsumer
from events.stream.account import Account
from events.stream.parts import Limits, Parts
from events.stream.session import Session
from features.batch.edition import build_edition, catch_up
from features.batch.engine import DuckDBEngine
from features.plan.plan import Plan
from features.state.editions.editions import Editions, Opened
from features.state.editions.kept import Kept
from features.state.editions.standing import Standing

__all__ = ["RUN", "EditionStream"]

RUN = threading.Event()
"""Never set."""


class EditionStream(TwinSystem):
    """What sessions work on, what they waited for (`told`), and what a rollout does beside them."""

    def __init__(self, plan: Plan, client: "Redis[bytes]", log: EventLog) -> None:
        super().__init__(plan)
        self.log = self.event_log = log
        self.client = client
        self.editions = Editions(client, "encore")
        self.standing = self.editions.begin(plan)
        self.wider = more_of_users(plan)
        self.sent = 0
        self.told: list[str] = []

    def begin(self, member: MemoryConsumer | None = None) -> Session:
        """A worker that logs when it is told to, and starts with what is live."""
        live = self.editions.open(self.standing.live, guarded=True)
        parts = Parts(
            plan=live.plan,
            states=live.states,
            log=self.log,
            limits=Limits(flush_s=3600.0, batch_rows=7),
            clock=self.clock,
            editions=self.editions,
            edition=live.id,
        )
        connection = self.topic.connect(GROUP)
        connection = replace(connection, member=member or connection.member)
        session = Session(parts, connection, Account(self.clock()), waits=lambda error: self.told.append(str(error)))
        session.__enter__()
        return session

    @staticmethod
    def kill(session: Session) -> None:
        """End a worker that folds, logs and commits nothing any more."""
        for part in (session._member, session._housekeeper, session._repairer):  # noqa: SLF001 - and nothing else of it
            part.close()

    def send(self, number: int) -> None:
        self.produce(shop(number, first=self.sent))
        self.sent += number

    def move(self, stage: str) -> None:
        """What a rollout does between two stages."""
        before = self.standing
        match stage:
            case "building":
                after = Standing(before.live, self.editions.new(self.wider), "building")
            case "following":
                kept = Kept.of(self.live, self.other, self.event_log)
                build_edition(self.other, self.event_log, source=self._engine, progress=lambda _: None, kept=kept)
                after = Standing(before.live, before.other, "following")
            case _:
                assert before.other is not None
                after = Standing(before.other, before.live, "switched")
        self.standing = self.editions.move(before, after)

    @property
    def other(self) -> Opened:
        assert self.standing.other is not None
        return self.editions.open(self.standing.other)

    @property
    def live(self) -> Opened:
        return self.editions.open(self.standing.live)

    def finish(self, session: Session) -> None:
        """Turn until all that was sent is folded into all editions, logged and committed."""

        def done() -> bool:
            assert session.turn(RUN)
            followed = self.standing.followed
            other = followed.id if followed else ""
            return session.editions == (self.standing.live.id, other) and self.read(session) == self.sent

        poll_until(done, 30, every_s=0)
        session.keep(RUN)
        assert self.committed() == self.sent

    def read(self, session: Session) -> int:
        return sum(progress.position for progress in session.progress.values())

    def rebuild(self) -> None:
        """All states anew, by the same definitions, while whoever works is asleep; the ones before are gone."""
        live = self.editions.read()
        assert live is not None
        before = Standing(live.live)
        other = self.editions.new(self.plan)
        build_edition(self.editions.open(other), self.event_log, source=self._engine, progress=lambda _: None)
        catch_up(self.editions.open(other), self.event_log)
        self.standing = self.editions.move(live, Standing(other))
        self.editions.drop(before.live, self.plan.schema)
        self.editions.keep(self.plan)

    def _engine(self) -> DuckDBEngine:
        return DuckDBEngine(self.event_log, memory="1GB")

    def folded(self) -> int:
        """Events in the users' states that answer."""
        users = (self.values_of("user", f"ü{n}") for n in range(10))
        return sum(int(u["user_view_count"]) + int(u["user_purchase_count"]) for u in users)  # type: ignore[call-overload]

    def values_of(self, entity: str, *ids: str) -> dict[str, object]:
        """An entity's features by the states that answer."""
        self.states = self.live.states  # type: ignore[assignment]
        return self.values(entity, *ids)

    def await_folded(self, session: Session, events: int) -> None:
        """Turn until so many events are in the states that answer, each once."""

        def turned() -> bool:
            assert session.turn(RUN)
            return self.folded() >= events

        poll_until(turned, 30, every_s=0)
        assert self.folded() == events
