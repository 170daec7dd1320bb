"""What a task of a Spark job takes: what the group lacks, from Spark, and from Kafka where Spark does not bring it."""

import threading
from dataclasses import replace

import pytest
from event_streams import shop
from twin_system import GROUP, TwinSystem

from data.errors import UnavailableError
from data.event import encode_event
from events.histogram import Histogram
from events.kafka.access import Access
from events.kafka.connection import Message
from events.kafka.memory import MemoryConsumer
from events.stream.account import Account
from events.stream.heartbeat import Membership
from events.stream.parts import Limits, Parts
from events.stream.session import Session
from events.stream.spark.member import TaskMember
from features.plan.plan import Plan

RUN = threading.Event()


class Twin(TwinSystem):
    """A topic of one partition, of which tasks are given ranges as Spark would give them."""

    def send(self, number: int, first: int = 0) -> None:
        for event in shop(number, first=first):
            self.topic.send(event.user_id.encode(), encode_event(event), partition=0)

    def brought(self, start: int, stop: int) -> list[Message]:
        return [message for some in self.topic.read(0, range(start, stop)) for message in some]

    def task(self, start: int, stop: int, *, account: Account | None = None) -> TaskMember:
        """Fold, log and commit what Spark brings, as `Task` does."""
        group = MemoryConsumer(self.topic, GROUP)
        member = TaskMember(group, 0, self.brought(start, stop), self.topic.read)
        connection = replace(self.topic.connect(GROUP), member=member)
        limits = Limits(flush_s=3600.0, first_rows=7, batch_rows=7)
        parts = Parts(plan=self.plan, states=self.states, log=self.log, limits=limits, clock=self.clock)
        with Session(parts, connection, account or Account(self.clock())) as session:
            for _ in range(50):
                if member.is_done:
                    break
                assert session.turn(RUN)
                if member.is_at_end:
                    session.keep(RUN)
        assert member.is_done
        return member

    def viewed(self) -> int:
        users = (self.values("user", f"ü{n}") for n in range(10))
        return sum(int(u["user_view_count"]) + int(u["user_purchase_count"]) for u in users)  # type: ignore[call-overload]


@pytest.fixture
def twin(plan: Plan) -> Twin:
    return Twin(plan)


def test_batches_follow_each_other(twin: Twin) -> None:
    twin.send(40)
    for start, stop in ((0, 15), (15, 16), (16, 40)):
        twin.task(start, stop)
        assert twin.committed() == twin.viewed() == stop
    assert len(twin.logged()) == 40


def test_what_comes_again_is_skipped(twin: Twin) -> None:
    twin.send(30)
    twin.task(0, 20)
    account = Account(twin.clock())
    twin.task(0, 20, account=account)
    assert account.status("", Membership(), 0, {}).received == 0
    twin.task(10, 30)
    assert twin.committed() == twin.viewed() == 30
    assert len(twin.logged()) == 30


def test_what_spark_has_passed_is_read_from_kafka(twin: Twin) -> None:
    twin.send(40)
    twin.task(25, 40)
    assert twin.committed() == twin.viewed() == 40
    assert len(twin.logged()) == 40


def test_it_begins_again_where_it_must(twin: Twin) -> None:
    twin.send(40)
    member = TaskMember(MemoryConsumer(twin.topic, GROUP), 0, twin.brought(5, 20), twin.topic.read)
    member.begin({0: 5})
    assert [one.offset for one in member.poll(0, 10)] == list(range(5, 15))
    member.drop({0})
    assert member.reading == frozenset()
    assert member.poll(0, 10) == []
    member.begin({0: 2})
    assert [one.offset for one in member.poll(0, 100)] == list(range(2, 20))
    assert member.is_at_end


def test_a_commit_beside_members_says_what_to_do(twin: Twin) -> None:
    group = MemoryConsumer(twin.topic, GROUP)
    member = TaskMember(group, 0, [], twin.topic.read)
    twin.topic.is_away = True
    with pytest.raises(UnavailableError, match=r"workers of `encore stream` are in the group, stop them"):
        member.commit({0: 3}, "")
    assert member.committed is None


def test_accounts_add_up(twin: Twin) -> None:
    twin.send(30)
    account, total = Account(twin.clock()), Account(twin.clock())
    for start, stop in ((0, 10), (10, 30)):
        of_task = Account(twin.clock())
        twin.task(start, stop, account=of_task)
        total.add(of_task)
    whole = Twin(twin.plan)
    whole.send(30)
    whole.task(0, 30, account=account)
    ours, theirs = (one.status("", Membership(), 0, {}) for one in (total, account))
    same = ("received", "folded", "types", "newest_event_us", "dead_letters", "repeats", "late")
    assert {name: getattr(ours, name) for name in same} == {name: getattr(theirs, name) for name in same}
    assert (ours.received, ours.files) == (30, 2)
    assert total.freshness_seconds.cumulative()[-1] == account.freshness_seconds.cumulative()[-1]


def test_histograms_add_up() -> None:
    one, other = Histogram((1.0, 2.0)), Histogram((1.0, 2.0))
    one.observe(0.5, 2)
    other.observe(1.5)
    assert (one + other).cumulative() == [("1", 2), ("2", 3), ("+Inf", 3)]
    assert (one + other).sum == 2.5


def test_javas_client_is_let_in_as_the_others_are() -> None:
    assert Access().for_java() == {"security.protocol": "PLAINTEXT"}
    access = Access(tls=True, ca="ca.pem", mechanism="SCRAM-SHA-512", username="me", password='a"b\\c')
    assert access.for_java() == {
        "security.protocol": "SASL_SSL",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": "ca.pem",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": 'org.apache.kafka.common.security.scram.ScramLoginModule required username="me" '
        'password="a\\"b\\\\c";',
    }
