"""One state that cannot be read costs nobody else anything: it is set aside, named, and made anew from the log."""

import struct
import zlib
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import msgspec
import pytest
from event_streams import TOPIC, Act, Placed, act, as_log, place, sourced
from paths import everything
from redis import Redis
from verifying import verify_log

from data.errors import DataError, LayoutError, RemadeError, UnavailableError, UndecidedError
from data.log.event_log import EventLog
from data.units import HOUR_US
from features.batch.engine import DuckDBEngine
from features.batch.materializer import materialize
from features.batch.repair import remake, remake_logged
from features.plan.plan import Plan
from features.state.algebra import State
from features.state.fence import Fence
from features.state.fold import Fold, Sourced
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import NOTHING, EntityKey, States

VICTIMS = [EntityKey("user", ("u1",)), EntityKey("product", ("p1",)), EntityKey("user_product", ("p1", "u1"))]


def checked(body: bytes) -> bytes:
    """A state of version 2 with a right checksum."""
    return b"\x02" + struct.pack(">I", zlib.crc32(body, zlib.crc32(b"\x02"))) + body


def nonsense(layout: int, fields: int) -> bytes:
    return checked(msgspec.msgpack.encode([layout, *["nonsense"] * fields]))


def _set(client: "Redis[bytes]", name: bytes, **fields: bytes) -> None:
    client.hset(name, mapping=fields)


DAMAGE: dict[str, Callable[["Redis[bytes]", bytes, int, int], object]] = {
    "garbage": lambda client, name, *_: _set(client, name, s=b"\x02garbage", t=b"", u=b""),
    "no state at all": lambda client, name, *_: _set(client, name, s=b"\x00", t=b"", u=b""),
    "cut off": lambda client, name, *_: _set(client, name, u=b"", t=b"", s=(client.hget(name, "s") or b"")[:9]),
    "nested deeply": lambda client, name, *_: _set(client, name, s=checked(b"\x91" * 9_000 + b"\x01"), t=b"", u=b""),
    "of wrong types": lambda client, name, layout, size: _set(client, name, s=nonsense(layout, size), t=b"", u=b""),
    "without its fields": lambda client, name, *_: client.hdel(name, "s", "t", "u"),
    "emptied, fence and all": lambda client, name, *_: _set(client, name, s=b"", t=b"", u=b"", f=b""),
    "fence of garbage": lambda client, name, *_: _set(client, name, f=b"\xc1"),
    "fence of a number": lambda client, name, *_: _set(client, name, f=msgspec.msgpack.encode([2**40, 0])),
    "fence of texts": lambda client, name, *_: _set(client, name, f=msgspec.msgpack.encode([TOPIC, 0, "a", "b"])),
    "a string": lambda client, name, *_: (client.delete(name), client.set(name, b"x")),
    "a list": lambda client, name, *_: (client.delete(name), client.rpush(name, b"x")),
}


@pytest.fixture
def states(redis_client: "Redis[bytes]") -> OnlineStates:
    return OnlineStates(redis_client)


def history() -> list[Placed]:
    acts = [Act(("purchase", "view")[n % 2], f"u{n % 3}", f"p{n // 3 % 2}", n * HOUR_US, float(n)) for n in range(30)]
    return place([act(one, f"e{number}") for number, one in enumerate(acts)], 2)


def right(plan: Plan, client: "Redis[bytes]", placed: Sequence[Placed]) -> dict[EntityKey, tuple[State, Fence]]:
    states = OnlineStates(client, "right")
    Fold(plan, states, TOPIC).apply(sourced(placed))
    return everything(plan, states, placed)


def mend(
    plan: Plan,
    states: OnlineStates,
    log: EventLog,
    beyond: Sequence[Sequence[Placed]] = (),
    *,
    others: States | None = None,
) -> None:
    """Make anew what is set aside; the topic has `beyond` the log, as read by one call after the other."""
    found, calls = states.aside.look(), iter(beyond)
    remake(plan, states, log, TOPIC, keys=found, newer=lambda: sourced(next(calls, [])), others=others)
    states.aside.take_back(found)


@pytest.mark.parametrize(
    ("victim", "logged"), list(zip(VICTIMS, (30, 11, 11), strict=True)), ids=["user", "product", "pair"]
)
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("trusted", [True, False], ids=["others as stored", "others from the log"])
def test_a_damaged_state_is_set_aside_and_made_anew(
    plan: Plan,
    redis_client: "Redis[bytes]",
    states: OnlineStates,
    tmp_path: Path,
    victim: EntityKey,
    damage: str,
    logged: int,
    trusted: bool,
) -> None:
    """Of its events, 30 or 11 are in the log, and the topic has the others."""
    others = states if trusted else None
    placed = history()
    expected = right(plan, redis_client, placed)
    fold = Fold(plan, states, TOPIC, store=states)
    assert fold.apply(sourced(placed[:20])).aside == frozenset()
    entity = plan.of(victim.entity)
    size = len(entity.slots) + len(entity.tile_sets) + len(entity.firsts)
    DAMAGE[damage](redis_client, redis_key(victim), entity.layout, size)

    log = as_log(EventLog(tmp_path / "log"), placed[:logged])
    if victim.entity == "user":  # it tells which events were sent again: nothing is folded before it is made anew
        for _ in range(3):
            with pytest.raises(UndecidedError, match="1 user states"):
                fold.apply(sourced(placed[20:]))
        assert fold.undecided.keys() == {victim} == states.aside.look().keys()
        mend(plan, states, log, others=others)
        assert not fold.apply(sourced(placed[20:])).repeats
        assert everything(plan, states, placed) == expected
        return

    counts = fold.apply(sourced(placed[20:]))

    assert victim in counts.aside
    also = {EntityKey("user", ("u1",)), EntityKey("product", ("p1",))} if victim.entity == "user_product" else set()
    assert counts.aside == {victim} | also
    assert states.aside.look().keys() == counts.aside
    rest = [one for one in placed if one.event.user_id != "u1" and one.event.product_id != "p1"]
    assert rest
    assert {key: expected[key] for key in everything(plan, states, rest)} == everything(plan, states, rest)

    mend(plan, states, log, [placed[logged:]], others=others)
    assert everything(plan, states, placed) == expected
    assert states.aside.look() == {}
    assert fold.apply(sourced(placed)).folded == 0


@pytest.mark.parametrize(("damage", "logged"), list(zip(DAMAGE, cycle([0, 11, 20, 30]))))
def test_a_state_that_is_waited_for_is_made_of_the_log_alone(
    plan: Plan, redis_client: "Redis[bytes]", tmp_path: Path, damage: str, logged: int
) -> None:
    """Workers have folded 20 events and logged fewer, or more; they read again what they had not logged."""
    placed, victim = history(), VICTIMS[0]
    expected = right(plan, redis_client, placed)
    states = OnlineStates(redis_client, guarded=True)
    states.inventory.begin(done=False)
    fold = Fold(plan, states, TOPIC, store=states)
    fold.apply(sourced(placed[:20]))
    DAMAGE[damage](redis_client, redis_key(victim), plan.of("user").layout, 99)
    with pytest.raises(UndecidedError):
        fold.apply(sourced(placed[20:]))

    log, anew = as_log(EventLog(tmp_path / "log"), placed[:logged]), states.unguarded()
    anew.inventory.turn_over()
    assert remake_logged(plan, anew, log, TOPIC, found=fold.undecided) == {victim}

    with pytest.raises(RemadeError):
        fold.apply(sourced(placed[20:]))
    states.inventory.forget_revision()
    fold.apply(sourced(placed[min(logged, 20) :]))
    assert everything(plan, OnlineStates(redis_client), placed) == expected
    assert remake_logged(plan, anew, log, TOPIC, found={victim: NOTHING}) == frozenset(), "whole"
    assert everything(plan, OnlineStates(redis_client), placed) == expected


@pytest.mark.long
def test_verify_names_what_is_damaged(
    plan: Plan, redis_client: "Redis[bytes]", states: OnlineStates, tmp_path: Path
) -> None:
    placed = history()
    Fold(plan, states, TOPIC).apply(sourced(placed))
    log = as_log(EventLog(tmp_path / "log"), placed)
    for victim, damage in zip(VICTIMS, ("garbage", "a string", "fence of a number"), strict=True):
        DAMAGE[damage](redis_client, redis_key(victim), 0, 0)
    verdict = verify_log(plan, log, states, sample=100, at_us=placed[-1].event.timestamp_us)
    assert {one.ids for one in verdict.disagreements} == {victim.ids for victim in VICTIMS[:2]}


def test_a_state_of_other_definitions_is_not_damaged(
    plan: Plan, redis_client: "Redis[bytes]", states: OnlineStates
) -> None:
    placed = history()
    fold = Fold(plan, states, TOPIC, store=states)
    fold.apply(sourced(placed[:20]))
    _set(redis_client, redis_key(VICTIMS[0]), s=checked(msgspec.msgpack.encode([1, 2, 3])), t=b"", u=b"")
    with pytest.raises(LayoutError, match="written under other definitions"):
        fold.apply(sourced(placed[20:]))


def test_a_log_with_a_hole_makes_nothing_anew(
    plan: Plan, redis_client: "Redis[bytes]", states: OnlineStates, tmp_path: Path
) -> None:
    placed = history()
    Fold(plan, states, TOPIC).apply(sourced(placed))
    redis_client.set(redis_key(VICTIMS[0]), b"x")
    states.aside.add(VICTIMS[:1])
    log = as_log(EventLog(tmp_path / "log"), placed)
    log.files()[1].path.unlink()
    with pytest.raises(DataError, match="lacks"):
        mend(plan, states, log)
    assert list(states.aside.look()) == VICTIMS[:1]
    assert redis_client.get(redis_key(VICTIMS[0])) == b"x"


def test_one_that_nobody_knows_has_no_state_then(
    plan: Plan, redis_client: "Redis[bytes]", states: OnlineStates, tmp_path: Path
) -> None:
    stranger = EntityKey("user", ("nobody",))
    redis_client.set(redis_key(stranger), b"x")
    states.aside.add([stranger])
    mend(plan, states, as_log(EventLog(tmp_path / "log"), history()))
    [stored] = states.read([stranger])
    assert stored.state == b""
    assert states.aside.look() == {}


@pytest.mark.parametrize("trusted", [True, False], ids=["others as stored", "others from the log"])
def test_a_worker_that_goes_on_meanwhile_loses_nothing(
    plan: Plan, redis_client: "Redis[bytes]", states: OnlineStates, tmp_path: Path, trusted: bool
) -> None:
    """It folds past what was read of the topic, before the new states are written and after."""
    placed = history()
    expected = right(plan, redis_client, placed)
    fold = Fold(plan, states, TOPIC, store=states)
    fold.apply(sourced(placed[:12]))
    for victim in VICTIMS[1:]:
        DAMAGE["garbage"](redis_client, redis_key(victim), 0, 0)
    fold.apply(sourced(placed[12:16]))
    seen, folded = 8, 16

    def newer() -> list[Sourced]:
        """What was folded before, and then the worker goes on."""
        nonlocal seen, folded
        found = sourced(placed[seen:folded])
        fold.apply(sourced(placed[folded : folded + 5]))
        seen, folded = folded, folded + 5
        return found

    log = as_log(EventLog(tmp_path / "log"), placed[:8])
    found = states.aside.look()
    others = states if trusted else None
    remake(plan, states, log, TOPIC, keys=found, newer=newer, others=others)
    states.aside.take_back(found)
    assert folded < len(placed)
    assert states.aside.look(), "what was folded onto damaged states meanwhile named them anew"
    fold.apply(sourced(placed[folded:]))
    mend(plan, states, log, [placed[8:]], others=others)
    assert everything(plan, states, placed) == expected
    assert states.aside.look() == {}


def test_one_makes_states_anew_at_a_time(states: OnlineStates, redis_client: "Redis[bytes]") -> None:
    assert states.aside.take_turn()
    assert not states.aside.take_turn()
    assert 0 < redis_client.pttl("encore:aside:turn") <= 15_000, "one who is killed delays the others, and no more"
    states.aside.end_turn()
    assert states.aside.take_turn()


def test_one_that_is_named_again_meanwhile_stays_named(states: OnlineStates) -> None:
    states.aside.add(VICTIMS)
    found = states.aside.look()
    states.aside.add(VICTIMS[1:2])
    states.aside.take_back(found)
    assert list(states.aside.look()) == VICTIMS[1:2]
    assert states.aside.look(5).keys() == {VICTIMS[1]}


def test_states_that_always_change_are_given_up_for_now(plan: Plan, states: OnlineStates, tmp_path: Path) -> None:
    placed = history()
    fold = Fold(plan, states, TOPIC, store=states)
    fold.apply(sourced(placed))
    log = as_log(EventLog(tmp_path / "log"), placed[:20])
    with pytest.raises(UnavailableError, match="kept changing"):
        remake(plan, states, log, TOPIC, keys=VICTIMS, newer=list)


def test_redis_and_kafka_may_be_away_for_a_moment(
    plan: Plan, redis_client: "Redis[bytes]", states: OnlineStates, tmp_path: Path
) -> None:
    """What the topic holds beyond the log is asked for again, and what was made of the log is written then."""
    placed, victim = history(), VICTIMS[1]
    expected = right(plan, redis_client, placed)
    fold = Fold(plan, states, TOPIC, store=states)
    fold.apply(sourced(placed[:20]))
    DAMAGE["garbage"](redis_client, redis_key(victim), plan.of("product").layout, 99)
    fold.apply(sourced(placed[20:]))
    log = as_log(EventLog(tmp_path / "log"), placed[:11])
    asked = 0

    def newer() -> list[Sourced]:
        nonlocal asked
        asked += 1
        redis_client.config_set("maxmemory", 1 if asked == 2 else 0)
        if asked == 1:
            raise UnavailableError("Kafka is away")
        return sourced(placed[11:]) if asked == 2 else []

    try:
        remake(plan, states, log, TOPIC, keys=[victim], newer=newer, others=states, again_s=0)
    finally:
        redis_client.config_set("maxmemory", 0)
    assert asked == 3
    assert everything(plan, states, placed) == expected

    def away() -> list[Sourced]:
        raise UnavailableError("Kafka is away")

    with pytest.raises(UnavailableError, match="Kafka is away"):
        remake(plan, states, log, TOPIC, keys=[victim], newer=away, again_s=0)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_rebuild_replaces_what_is_damaged(
    plan: Plan, redis_client: "Redis[bytes]", states: OnlineStates, tmp_path: Path, damage: str
) -> None:
    placed = history()
    Fold(plan, states, TOPIC).apply(sourced(placed))
    for victim in VICTIMS:
        entity = plan.of(victim.entity)
        DAMAGE[damage](redis_client, redis_key(victim), entity.layout, len(entity.slots))
    log = as_log(EventLog(tmp_path / "log"), placed)
    with DuckDBEngine(log, threads=1) as engine:
        for entity_plan in plan.entities:
            materialize(states, engine.states(entity_plan), entity_plan, log)
    assert everything(plan, states, placed) == right(plan, redis_client, placed)


@pytest.mark.parametrize("value", [b"not json", b'["user"]', b'["user",["a","b"]]', b'["nobody",["a"]]', b"\xff"])
def test_what_is_set_aside_is_read_as_far_as_it_can_be(
    redis_client: "Redis[bytes]", states: OnlineStates, value: bytes
) -> None:
    states.aside.add(VICTIMS[:1])
    redis_client.hset("encore:aside", value, "token")
    assert list(states.aside.look()) == VICTIMS[:1]


def test_keys_of_ours_of_another_type_are_in_nobodys_way(redis_client: "Redis[bytes]", states: OnlineStates) -> None:
    redis_client.set("encore:aside", "x")
    redis_client.set("encore:newest_event", "x")
    assert states.aside.look() == states.aside.look(5) == {}
    assert states.newest_event() is None
    states.aside.add(VICTIMS)
    states.note_event(5)
    assert states.aside.look().keys() == set(VICTIMS)
    assert states.newest_event() == 5


@pytest.mark.parametrize("nothing", ["inf", "-inf", "1e300", "-5"])
def test_a_newest_event_that_is_no_time_is_none(
    redis_client: "Redis[bytes]", states: OnlineStates, nothing: str
) -> None:
    redis_client.execute_command("ZADD", "encore:newest_event", nothing, "event")
    assert states.newest_event() is None
    states.note_event(7)
    assert states.newest_event() == 7
