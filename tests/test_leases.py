"""Leases over one Redis and over a Redis Cluster: fair shares whoever comes, goes, dies, sleeps or is renamed."""

from collections.abc import Iterator
from typing import Any

import pytest
from event_streams import examples
from hypothesis import given
from hypothesis import strategies as st
from polling import poll_until
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from data.errors import ConfigurationError
from events.stream.lease_keeper import LeaseKeeper
from events.stream.leases import Held, Leases, Member

KEY = "encore:leases:g:t"


def member(name: str, session_s: float = 60.0) -> Member:
    return Member(topic="t", group="g", name=name, session_s=session_s)


class Shop:
    """Members that renew when they are told to, and give back at once what they are asked for."""

    def __init__(self, client: "Redis[bytes]", partitions: int) -> None:
        self.client = client
        self.leases = Leases(client, "encore")
        self.partitions = partitions
        self.members: dict[str, Member] = {}
        self.held: dict[str, Held] = {}

    def renew(self, name: str) -> None:
        joins = name not in self.held
        known = self.held.get(name, Held())
        held = self.leases.renew(self.members[name], self.partitions, known.mine - known.give, known.give, joins=joins)
        assert held is not None
        self.held[name] = held
        assert held.give <= held.mine

    def settle(self) -> None:
        """Everyone comes round a few times."""
        for _ in range(4):
            for name in list(self.members):
                self.renew(name)

    def kill(self, name: str) -> None:
        """As if its session were over."""
        incarnation = self.members.pop(name).incarnation
        self.held.pop(name, None)
        self.client.hset(KEY, f"m:{name}", f"{incarnation} 1")

    def check(self) -> None:
        parts = [number for held in self.held.values() for number in held.mine]
        assert sorted(parts) == list(range(self.partitions)), "each partition has one reader"
        sizes = [len(self.held[name].mine) for name in self.members]
        assert max(sizes) - min(sizes) <= 1
        assert not any(held.give for held in self.held.values())


@pytest.mark.parametrize("redis_client", ["one", "cluster"], indirect=True)
@examples(100)
@given(
    st.integers(1, 9),
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["come", "die", "leave", "renew", "forget"]))),
)
def test_shares_are_fair_whoever_comes_and_goes(
    redis_client: "Redis[bytes]", partitions: int, steps: list[tuple[str, str]]
) -> None:
    redis_client.delete(KEY)
    shop = Shop(redis_client, partitions)
    for name, what in [("a", "come"), *steps]:
        if what == "come":
            shop.members[name] = member(name)
            shop.held.pop(name, None)  # another incarnation, where it is here already
            shop.renew(name)
        elif name in shop.members and (what == "renew" or len(shop.members) == 1):
            shop.renew(name)
        elif name in shop.members and what == "die":
            shop.kill(name)
        elif name in shop.members and what == "leave":
            shop.leases.leave(shop.members.pop(name))
            shop.held.pop(name, None)
        elif what == "forget":
            shop.settle()
            shop.check()
            before = dict(shop.held)
            redis_client.delete(KEY)
            for other in shop.members:
                shop.renew(other)
            assert shop.held == before, "nothing moves"
            redis_client.hset(KEY, "calm", 0)
    shop.settle()
    shop.check()
    before = dict(shop.held)
    shop.settle()
    assert shop.held == before, "what is fair stays as it is"


def test_only_as_much_moves_as_must(redis_client: "Redis[bytes]") -> None:
    shop = Shop(redis_client, 9)
    for name in "abcd":
        shop.members[name] = member(name)
        before = {other: held.mine for other, held in shop.held.items()}
        shop.settle()
        shop.check()
        assert all(shop.held[other].mine <= had for other, had in before.items()), "others only give"
    gone = shop.held["b"].mine
    shop.kill("b")
    before = {other: held.mine for other, held in shop.held.items()}
    shop.settle()
    shop.check()
    assert all(shop.held[other].mine >= had for other, had in before.items()), "others only take"
    assert frozenset().union(*(shop.held[o].mine - had for o, had in before.items())) == gone


def test_a_partition_is_nobodys_before_it_was_given_back(redis_client: "Redis[bytes]") -> None:
    leases, first, second = Leases(redis_client, "encore"), member("a"), member("b")
    everything = frozenset(range(4))
    assert leases.renew(first, 4, joins=True) == Held(everything)
    assert leases.renew(second, 4, joins=True) == Held()
    assert leases.renew(first, 4, everything) == Held(everything, frozenset({2, 3}))
    assert leases.renew(second, 4) == Held()
    assert leases.renew(first, 4, {0, 1}, {2, 3}) == Held(frozenset({0, 1}))
    assert leases.renew(second, 4) == Held(frozenset({2, 3}))


def test_who_comes_under_a_name_has_its_partitions_at_once(redis_client: "Redis[bytes]") -> None:
    leases, first, again = Leases(redis_client, "encore"), member("a"), member("a")
    had = leases.renew(first, 4, joins=True)
    assert leases.renew(again, 4, joins=True) == had
    assert leases.renew(first, 4, {0, 1, 2, 3}) is None, "the elder's name is taken"
    leases.leave(first)
    assert leases.renew(again, 4) == had, "and it cannot give away what is the younger's"
    renamed = first.renamed()
    assert renamed.name.startswith("a-")
    assert leases.renew(renamed, 4, joins=True) == Held()


def test_a_topic_may_grow(redis_client: "Redis[bytes]") -> None:
    leases, first = Leases(redis_client, "encore"), member("a")
    leases.renew(first, 2, joins=True)
    assert leases.renew(first, 5) == Held(frozenset(range(5)))


@pytest.mark.parametrize("passed_s", [3_600, -3_600])
def test_after_a_silence_nobodys_lease_is_over(redis_client: "Redis[bytes]", passed_s: int) -> None:
    """The store was away, or its clock jumped: whoever comes first takes nothing from the others."""
    leases, first, second = Leases(redis_client, "encore"), member("a"), member("b")
    for _ in range(2):
        held = [leases.renew(one, 4, joins=True) for one in (first, second)]
        leases.renew(first, 4, (), {2, 3})
    held = [leases.renew(one, 4) for one in (first, second)]
    assert [len(one.mine) for one in held if one] == [2, 2]
    found = {name.decode(): value.decode() for name, value in redis_client.hgetall(KEY).items()}
    for name, value in found.items():
        if name == "at" or name.startswith("m:"):
            *incarnation, at = value.split()
            redis_client.hset(KEY, name, " ".join([*incarnation, str(int(at) - passed_s * 1000)]))
    assert leases.renew(first, 4) == held[0]
    assert leases.renew(second, 4) == held[1]
    *_, ends = redis_client.hget(KEY, "m:b").split()
    now_s, _ = redis_client.time()
    assert now_s < int(ends) / 1000 <= now_s + 61, "and none lives for ever either"


def test_a_name_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="worker name 'a b': use up to 249 letters"):
        member("a b")


@pytest.fixture
def keepers(redis_client: "Redis[bytes]") -> Iterator[Any]:
    running: list[LeaseKeeper] = []

    def keep(name: str, leases: Leases | None = None, session_s: float = 0.6, **options: float) -> LeaseKeeper:
        keeper = LeaseKeeper(leases or Leases(redis_client, "encore"), member(name, session_s), **options)
        keeper.partitions = 4
        keeper.start()
        running.append(keeper)
        return keeper

    yield keep
    for keeper in running:
        keeper.close()


def follow(*keepers: LeaseKeeper) -> list[frozenset[int]]:
    """What each has, after it has given back what it should."""
    for keeper in keepers:
        keeper.release(keeper.held().give)
    return [keeper.held().mine for keeper in keepers]


def test_workers_share_and_take_over(keepers: Any) -> None:
    """Who leaves is not waited for: its session would be a minute."""
    second, first = keepers("b", session_s=60.0), keepers("a")
    poll_until(lambda: len(follow(second)[0]) == 4)
    second.close()
    poll_until(lambda: len(follow(first)[0]) == 4)


def test_who_is_stuck_loses_its_partitions_and_gets_a_share_again(keepers: Any) -> None:
    stuck, other = keepers("a", poll_s=0.5), keepers("b")
    poll_until(lambda: sorted(map(len, follow(stuck, other))) == [2, 2])
    poll_until(lambda: len(follow(other)[0]) == 4)
    assert not stuck.is_sure
    poll_until(lambda: sorted(map(len, follow(stuck, other))) == [2, 2])
    assert stuck.is_sure


def test_whose_name_is_taken_goes_on_under_another(keepers: Any, caplog: pytest.LogCaptureFixture) -> None:
    first = keepers("a")
    poll_until(lambda: len(follow(first)[0]) == 4)
    second = keepers("a")
    poll_until(lambda: [len(mine) for mine in follow(first, second)] == [2, 2])
    assert second.name == "a"
    assert first.name.startswith("a-")
    assert caplog.text.count("another worker has the name a:") == 1


def test_a_store_that_is_away_takes_nothing(
    keepers: Any, redis_client: "Redis[bytes]", caplog: pytest.LogCaptureFixture
) -> None:
    class Away(Leases):
        away = False

        def renew(self, *given: Any, **options: Any) -> Held | None:
            if self.away:
                raise RedisConnectionError("away")
            return super().renew(*given, **options)

    leases = Away(redis_client, "encore")
    first, second = keepers("a", leases), keepers("b", leases)
    before = poll_until(lambda: held if sorted(map(len, held := follow(first, second))) == [2, 2] else None)
    leases.away = True
    poll_until(lambda: not first.is_sure and not second.is_sure)
    assert follow(first, second) == before
    leases.away = False
    poll_until(lambda: first.is_sure and second.is_sure)
    assert follow(first, second) == before
    assert caplog.text.count("leases of partitions are not renewed: away") == 2
