"""The log gives the states that were read at any fence, to the last bit, in whichever batches they were folded."""

from collections.abc import Callable

import pyarrow as pa
import pytest
from event_streams import TOPIC, Act, Placed, act, as_log, batches, place, shop, sourced, streams
from hypothesis import given
from hypothesis import strategies as st
from thorough import examples

from data.log.event_table import PlacedEvent, placed_table
from data.log.memory import MemoryLog
from data.log.sources import topic_source
from data.units import DAY_US
from features.facts import touches
from features.past.past import Past
from features.plan.plan import Plan
from features.state.algebra import Algebra
from features.state.fence import Fence
from features.state.fold import Fold
from features.state.memory import MemoryStates
from features.state.states import EntityKey

pytestmark = pytest.mark.integration  # it computes features from logs of any shape

LIVE = topic_source(TOPIC)

Read = tuple[EntityKey, bytes, bytes]
"""An entity, and the bytes of its state and of its fence as somebody read them."""


def entities_of(placed: list[Placed], plan: Plan) -> list[EntityKey]:
    """All entities that these events touch."""
    found = {
        EntityKey(touch.entity.name, ids): None
        for one in sourced(placed)
        for touch in touches(plan.schema)
        if (ids := touch.of(one.fact)) is not None
    }
    return list(found)


def read_all(states: MemoryStates, keys: list[EntityKey]) -> list[Read]:
    """What a reader finds of the entities that there are by now."""
    stored = zip(keys, states.read(keys), strict=True)
    return [(key, state, fence) for key, (state, fence) in stored if state]


def differing(plan: Plan, past: Past, reads: list[Read]) -> list[str]:
    """The reads whose state the log does not give."""
    found = []
    for key, data, fence in reads:
        algebra = Algebra(plan.of(key.entity))
        read, logged = algebra.decode(data), past.state(key, Fence.decode(fence))
        if logged is None or (read.slots, read.tiles) != (logged.slots, logged.tiles):
            found.append(f"{key} at {Fence.decode(fence)!r}: {read} was read, {logged} is logged")
    return found


def reads_by(reads: list[Read]) -> dict[EntityKey, list[Fence]]:
    found: dict[EntityKey, list[Fence]] = {}
    for key, _, fence in reads:
        found.setdefault(key, []).append(Fence.decode(fence))
    return found


@pytest.mark.long
@examples(40)
@given(old=streams(most=8), placed=streams(most=40), data=st.data())
def test_a_state_at_any_fence_is_what_the_log_gives(
    plan: Plan, old: list[Placed], placed: list[Placed], data: st.DataObject
) -> None:
    """After a topic that is gone another one goes on; workers crash, read offsets again, and lag behind each other."""
    draw: Callable[[int], int] = lambda n: data.draw(st.integers(0, n - 1))  # noqa: E731
    states, reads = MemoryStates(), list[Read]()
    keys = entities_of([*old, *placed], plan)
    before = Fold(plan, states, b"a topic long ago")
    before.apply(sourced(old))
    reads += read_all(states, keys)
    fold = Fold(plan, states, TOPIC)
    for batch in batches(placed, draw):
        fold.apply(sourced(batch))
        reads += read_all(states, keys)
    log = as_log(as_log(MemoryLog(), old, b"a topic long ago"), placed)
    assert differing(plan, Past(plan, log, reads_by(reads)), reads) == []
    listing = Past(plan, log, reads_by(reads), listed=True)
    assert differing(plan, listing, reads) == []
    for key, _, encoded in reads[-10:]:
        fence = Fence.decode(encoded)
        held, others = listing.events(key, fence)
        assert len(held) + len(others) == sum(
            touch.of(one.fact) == key.ids
            for one in sourced([*old, *placed])
            for touch in touches(plan.schema)
            if touch.entity.name == key.entity
        )
        assert all(event.offset <= fence.offsets.get(event.partition, -1) for event in held if event.source == LIVE)


@pytest.fixture
def history() -> list[Placed]:
    return place([act(Act("purchase", "ü1", "p1", n * DAY_US, 2.5), f"old-{n}") for n in range(5)], 1)


def test_histories_belong_to_states_that_were_made_of_them(plan: Plan, history: list[Placed]) -> None:
    """One that came into the log after the topic is in the states made anew since, and not in those of before."""
    log, key = MemoryLog(), EntityKey("user", ("ü1",))
    as_log(log, place(shop(60), 1))
    fence = Fence(TOPIC, {0: 41})
    alone = Past(plan, log, {key: [fence]}).state(key, fence)
    told = placed_table([PlacedEvent(one.offset, one.event) for one in history])
    log.write_history("more", [told.drop_columns(["offset", "arrived"])])
    without, with_it = (Past(plan, log, {key: [fence]}, later=later) for later in (False, True))
    assert without.state(key, fence) == alone
    assert without.has_later_histories
    more = with_it.state(key, fence)
    assert alone is not None
    assert more is not None
    assert sum(slot for slot in more.slots[:5] if slot) == sum(slot for slot in alone.slots[:5] if slot) + 5


def test_what_the_log_lacks_is_said(plan: Plan) -> None:
    log, key = MemoryLog(), EntityKey("user", ("ü1",))
    as_log(log, place(shop(40), 1))
    fences = [Fence(), Fence(TOPIC, {0: 39}), Fence(TOPIC, {0: 40}), Fence(TOPIC, {1: 3}), Fence(b"x" * 16, {0: 1})]
    past = Past(plan, log, {key: fences})
    told = [past.lacks(fence) for fence in fences]
    assert told[:2] == ["", ""]
    assert "partition 0 up to offset 40 yet" in told[2]
    assert "partition 1 up to offset 3 yet" in told[3]
    assert f"nothing of the topic {(b'x' * 16).hex()}" in told[4]
    assert past.state(key, Fence()) is None
    cut = MemoryLog()
    source = log.sources()[0]
    left = pa.concat_tables(log.read(source, 0, range(20, 40))).drop_columns(["source", "partition"])
    cut.append(source, 0, range(20, 40), left)
    cut.mark_lost(source, 0, range(20))
    assert "before offset 20 any more" in Past(plan, cut, {key: fences[1:2]}).lacks(fences[1])
