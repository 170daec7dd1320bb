"""What every store of states promises: in memory, in Redis, in a Redis Cluster."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import EVERY_STORE
from thorough import examples

from features.entities import ENTITIES
from features.state.fence import Fence
from features.state.states import NOTHING, EntityKey, States, Stored

pytestmark = EVERY_STORE

A, B = EntityKey("user", ("a",)), EntityKey("user", ("b",))
TOPIC = b"t" * 16


def fence(offset: int, generation: int = 0) -> Fence:
    return Fence(TOPIC, {0: offset}, generation)


def test_nothing_is_stored_of_what_nobody_has_seen(states: States) -> None:
    assert states.read([]) == []
    assert states.read([A, B, A]) == [NOTHING] * 3
    assert states.compare_and_set({}) == []
    assert states.counts() == {entity.name: 0 for entity in ENTITIES}
    assert list(states.fences("user")) == []
    assert states.newest_event() is None
    assert states.clear() == 0


def test_what_is_written_is_read_in_the_order_asked(states: States) -> None:
    assert states.compare_and_set({A: (NOTHING, b"of a", fence(3)), B: (NOTHING, b"of b", fence(4))}) == []
    assert states.read([B, A]) == [Stored(b"of b", fence(4).encode()), Stored(b"of a", fence(3).encode())]


def test_a_state_is_written_only_over_the_fence_that_was_read(states: States) -> None:
    states.compare_and_set({A: (NOTHING, b"one", fence(1))})
    [one] = states.read([A])
    assert states.compare_and_set({A: (NOTHING, b"late", fence(9)), B: (NOTHING, b"of b", fence(2))}) == [A]
    assert states.read([A, B]) == [one, Stored(b"of b", fence(2).encode())], "the others are written"
    assert states.compare_and_set({A: (one, b"two", fence(2))}) == []
    assert states.compare_and_set({A: (one, b"again", fence(2))}) == [A], "it was written since it was read"
    assert states.read([A]) == [Stored(b"two", fence(2).encode())]


def test_a_rebuilt_state_of_the_same_offsets_is_another(states: States) -> None:
    """A worker that read before the rebuild cannot write after it: the generation tells."""
    states.compare_and_set({A: (NOTHING, b"streamed", fence(5))})
    [before] = states.read([A])
    assert states.compare_and_set({A: (before, b"rebuilt", fence(5, generation=1))}) == []
    assert states.compare_and_set({A: (before, b"late", fence(6))}) == [A]
    assert states.read([A])[0].state == b"rebuilt"


def test_only_the_fence_is_compared(states: States) -> None:
    states.compare_and_set({A: (NOTHING, b"state", fence(5))})
    assert states.compare_and_set({A: (Stored(b"not read", fence(5).encode()), b"next", fence(6))}) == []


@examples(60)
@given(st.lists(st.binary(max_size=400), min_size=1, max_size=8))
def test_a_state_of_any_length_is_read_as_it_was_written(states: States, versions: list[bytes]) -> None:
    states.clear()
    for number, state in enumerate(versions):
        before = states.read([A])[0]
        assert states.compare_and_set({A: (before, state, fence(number))}) == []
        assert states.read([A]) == [Stored(state, fence(number).encode())]


@pytest.mark.integration
@examples(60)
@given(st.data())
def test_entities_never_share_a_state(states: States, data: st.DataObject) -> None:
    """Ids may hold what keys are made of: names of entities, patterns, braces, zeros, any script."""
    states.clear()
    ids = st.sampled_from(
        ["", "a", "b", "ab", "user_id", "*", "[a]", "{a}", "a}", "\\", "\0", "encore", "プロ:1", "a" * 200]
    )
    kinds = {entity.name: len(entity.join_keys) for entity in ENTITIES}
    keys = st.sampled_from(list(kinds)).flatmap(
        lambda name: st.builds(EntityKey, st.just(name), st.tuples(*[ids] * kinds[name]))
    )
    wanted = {key: f"{key}".encode() for key in data.draw(st.lists(keys, max_size=12, unique=True))}
    assert states.compare_and_set({key: (NOTHING, state, fence(1)) for key, state in wanted.items()}) == []
    assert [one.state for one in states.read(list(wanted))] == list(wanted.values())
    assert states.counts() == {name: sum(key.entity == name for key in wanted) for name in kinds}
    assert states.clear() == len(wanted)
    assert states.read(list(wanted)) == [NOTHING] * len(wanted)


def test_many_are_read_and_written_at_once(states: States) -> None:
    keys = [EntityKey("product", (f"p{number}",)) for number in range(2_500)]
    assert states.compare_and_set({key: (NOTHING, key.ids[0].encode(), fence(n)) for n, key in enumerate(keys)}) == []
    assert [one.state for one in states.read(keys)] == [key.ids[0].encode() for key in keys]
    assert sorted(one.offsets[0] for one in states.fences("product")) == list(range(2_500))
    assert list(states.fences("user")) == []
    assert states.counts()["product"] == 2_500
    assert states.clear() == 2_500


def test_the_newest_event_only_grows(states: States) -> None:
    for noted, newest in ((5, 5), (3, 5), (1_767_225_600_000_001, 1_767_225_600_000_001), (7, 1_767_225_600_000_001)):
        states.note_event(noted)
        assert states.newest_event() == newest
    states.clear()
    assert states.newest_event() is None
    states.note_event(2)
    assert states.newest_event() == 2


def test_of_two_who_read_the_same_one_writes(states: States) -> None:
    """Four threads count to 100 together: whoever lost reads again."""
    errors: list[BaseException] = []

    def count() -> None:
        try:
            for _ in range(25):
                while True:
                    [before] = states.read([A])
                    number = int(before.state or b"0") + 1
                    if not states.compare_and_set({A: (before, b"%d" % number, fence(number))}):
                        break
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert states.read([A])[0].state == b"100"


@pytest.mark.parametrize("offsets", [{}, {0: 0}, {3: 2**40, 1: 7}])
def test_a_fence_is_stored_as_it_is(states: States, offsets: dict[int, int]) -> None:
    states.compare_and_set({A: (NOTHING, b"state", Fence(TOPIC, dict(offsets), 3))})
    assert list(states.fences("user")) == [Fence(TOPIC, offsets, 3)]
