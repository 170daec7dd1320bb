"""Every event counts once: after replays, crashes between two writes, races, zombies and recreated topics.

topic      0 1 2 3 4 5 6 7 8 9
delivered  |----------|            a worker folds, and dies before it commits
              |---------------|    the next one takes some again
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from event_streams import TOPIC, Act, Placed, act, place, sourced, streams
from hypothesis import given
from hypothesis import strategies as st
from paths import everything, fold_all, keys_of
from states_between import StatesBetween, Writes, put_back
from stores import EVERY_STORE
from thorough import examples

from data.errors import FailedOverError, StateError
from data.units import DAY_US, HOUR_US
from features.entities import ENTITIES
from features.plan.plan import Plan
from features.state.algebra import Algebra, State
from features.state.fence import Fence
from features.state.fold import Fold, FoldCounts
from features.state.memory import MemoryStates
from features.state.states import EntityKey, States
from features.state.values import EntityValues

pytestmark = EVERY_STORE

U, P = EntityKey("user", ("u",)), EntityKey("product", ("p",))


class CrashError(Exception):
    """The worker's machine is gone."""


def crashing(states: States, left: int) -> States:
    """States of which only the first `left` writes happen."""

    def write(writes: Writes) -> None:
        nonlocal left
        if len(writes) > left:
            states.compare_and_set(dict(list(writes.items())[:left]))
            raise CrashError
        left -= len(writes)

    return StatesBetween(states, write=write)


def hooked(states: States, entity: str, hook: Callable[[], None]) -> States:
    """States at which something else happens before the first write of a kind of entity."""
    hooks = [hook]

    def write(writes: Writes) -> None:
        if hooks and any(key.entity == entity for key in writes):
            hooks.pop()()

    return StatesBetween(states, write=write)


def placed_of(*acts: Act, partitions: int = 1, first_offset: int = 0) -> list[Placed]:
    events = [act(one, f"e{first_offset}-{number}") for number, one in enumerate(acts)]
    return place(events, partitions, first_offset=first_offset)


def values(plan: Plan, states: States, key: EntityKey) -> dict[str, object]:
    of = EntityValues(plan.of(key.entity))
    (stored,) = states.read([key])
    state = of.algebra.decode(stored.state) if stored.state else None
    return dict(zip(of.names, of.get(state, 0), strict=True))


def once(plan: Plan, placed: Sequence[Placed]) -> dict[EntityKey, tuple[State, Fence]]:
    """What folding each event once, without trouble, gives."""
    states = MemoryStates()
    Fold(plan, states, TOPIC).apply(sourced(placed))
    return everything(plan, states, placed)


def test_counts_say_what_was_folded(plan: Plan, states: States) -> None:
    fold = Fold(plan, states, TOPIC)
    placed = placed_of(Act("view", "u", "p", 0), Act("purchase", "u", "p", 1), Act("purchase", "u", "q", 2))
    assert fold.apply(sourced(placed)) == FoldCounts(events=3, folded=3, states=5, conflicts=0)
    assert fold.apply(sourced(placed)) == FoldCounts(events=3, folded=0, states=0, conflicts=0)
    assert fold.apply([]) == FoldCounts(0, 0, 0, 0)
    user = values(plan, states, U)
    assert (user["user_purchase_count"], user["user_distinct_products_purchased"]) == (2, 2)


@pytest.mark.integration
@examples(30)
@given(placed=streams(), seed=st.integers(0, 9999))
def test_redelivered_ranges_count_once(plan: Plan, states: States, placed: list[Placed], seed: int) -> None:
    states.clear()
    fold_all(plan, placed, states, seed)
    assert everything(plan, states, placed) == once(plan, placed)


@pytest.mark.integration
@examples(30)
@given(placed=streams(most=15), data=st.data())
def test_any_prefix_and_suffix_may_come_again(
    plan: Plan, states: States, placed: list[Placed], data: st.DataObject
) -> None:
    states.clear()
    end, start = (data.draw(st.integers(0, len(placed))) for _ in range(2))
    for part in (placed[:end], placed[: min(start, end)], placed[min(start, end) :], placed[start:], placed):
        Fold(plan, states, TOPIC).apply(sourced(part))
    assert everything(plan, states, placed) == once(plan, placed)


@pytest.mark.long
@examples(40)
@given(placed=streams(most=12), data=st.data())
def test_a_crash_after_any_write_loses_and_doubles_nothing(
    plan: Plan, states: States, placed: list[Placed], data: st.DataObject
) -> None:
    """Pairs are written, then users and products: between them a pair knows its first, and they do not."""
    states.clear()
    done = 0
    for writes, rows in data.draw(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=6), "attempts"):
        batch = placed[done : done + rows]
        try:
            Fold(plan, crashing(states, writes), TOPIC).apply(sourced(batch))
        except CrashError:
            continue  # nothing of it is committed: it comes again, perhaps with more or less behind it
        done += len(batch)
    Fold(plan, states, TOPIC).apply(sourced(placed[done:]))
    assert everything(plan, states, placed) == once(plan, placed)


def test_a_crash_between_pair_and_user_keeps_the_first(plan: Plan, states: States) -> None:
    placed = placed_of(Act("purchase", "u", "p", 0))
    with pytest.raises(CrashError):
        Fold(plan, crashing(states, 1), TOPIC).apply(sourced(placed))
    assert values(plan, states, EntityKey("user_product", ("p", "u")))["user_product_purchase_count"] == 1
    assert values(plan, states, U)["user_purchase_count"] == 0

    counts = Fold(plan, states, TOPIC).apply(sourced(placed))
    assert counts.folded == 1
    user, product = values(plan, states, U), values(plan, states, P)
    assert (user["user_purchase_count"], user["user_distinct_products_purchased"]) == (1, 1)
    assert (product["product_purchase_count"], product["product_distinct_buyers"]) == (1, 1)


def test_workers_racing_on_a_product_lose_nothing(plan: Plan, states: States) -> None:
    """Each of four threads folds the users of its own partition, all of whom buy one product."""
    users, each = 4, 40
    errors: list[BaseException] = []

    def work(partition: int) -> None:
        try:
            fold = Fold(plan, states, TOPIC)
            for offset in range(each):
                event = act(Act("purchase", f"u{partition}", "p", offset * HOUR_US, 2.0), f"e{partition}-{offset}")
                fold.apply(sourced([Placed(event, partition, offset)]))
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(partition,)) for partition in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    product = values(plan, states, P)
    (stored,) = states.read([P])
    assert (product["product_purchase_count"], product["product_distinct_buyers"]) == (users * each, users)
    assert product["product_total_spend"] == 2.0 * users * each
    assert Fence.decode(stored.fence).offsets == dict.fromkeys(range(users), each - 1)


@pytest.mark.integration
@examples(40)
@given(placed=streams(), data=st.data())
def test_a_state_that_is_lost_again_and_again_is_as_if_nobody_else_wrote(
    plan: Plan, states: States, placed: list[Placed], data: st.DataObject
) -> None:
    """Before each write of one worker another folds events of its own partition, or those that the first one has."""
    states.clear()
    ours = [one for one in placed if one.partition == 0]
    theirs = [one for one in placed if one.partition != 0]

    def others(_: Writes) -> None:
        some = data.draw(st.integers(0, 4), "events of theirs")
        Fold(plan, states, TOPIC).apply(sourced(theirs[:some]))
        del theirs[:some]
        if data.draw(st.integers(0, 5), "the partition has moved") == 0:
            Fold(plan, states, TOPIC).apply(sourced(ours[: data.draw(st.integers(0, len(ours)), "so far")]))

    Fold(plan, StatesBetween(states, write=others), TOPIC).apply(sourced(ours))
    Fold(plan, states, TOPIC).apply(sourced(theirs))
    alone = MemoryStates()
    Fold(plan, alone, TOPIC).apply(sourced(placed))
    keys = [key for entity in ENTITIES for key in keys_of(entity, placed)]
    assert [one.state for one in states.read(keys)] == [one.state for one in alone.read(keys)], "to the last bit"
    assert everything(plan, states, placed) == once(plan, placed)


def test_events_of_a_hot_product_are_folded_twice_at_most(
    plan: Plan, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often others win: the state is merged then, which takes a moment."""
    ours = placed_of(*(Act("purchase", f"u{n}", "p", n * HOUR_US) for n in range(20)))
    lost, updates = 30, list[str]()

    def others(writes: Writes) -> None:
        nonlocal lost
        if P in writes and lost:
            lost -= 1
            (theirs,) = placed_of(Act("view", "v", "p", 0), first_offset=100 - lost)
            Fold(plan, states, TOPIC).apply(sourced([theirs._replace(partition=1)]))
            updates.clear()

    fold_one = Algebra.update

    def update(self: Algebra, *args: Any) -> None:
        updates.append(self.plan.entity)
        fold_one(self, *args)

    monkeypatch.setattr(Algebra, "update", update)
    counts = Fold(plan, StatesBetween(states, write=others), TOPIC).apply(sourced(ours))
    assert counts.conflicts == 30
    assert "product" not in updates, "since the last time that it was lost"
    product = values(plan, states, P)
    assert (product["product_purchase_count"], product["product_view_count"]) == (20, 30)


def test_states_of_other_writers_too_are_written_a_few_at_a_time(plan: Plan, states: States) -> None:
    """So that each is out of hand for a moment, not for as long as a batch takes."""
    sizes = dict[str, list[int]]()

    def write(writes: Writes) -> None:
        for entity in {key.entity for key in writes}:
            sizes.setdefault(entity, []).append(sum(key.entity == entity for key in writes))

    Fold(plan, StatesBetween(states, write=write), TOPIC).apply(
        sourced(placed_of(*(Act("view", f"u{n}", f"p{n}", n) for n in range(200))))
    )
    assert sizes == {"user_product": [200], "product": [64, 64, 64, 8], "user": [200]}


@pytest.mark.parametrize("entity", ["user", "product", "user_product"])
def test_a_zombie_that_writes_late_changes_nothing(plan: Plan, states: States, entity: str) -> None:
    """The zombie has read and folded; before it writes, the new owner of its partition folds the same and more."""
    placed = placed_of(*(Act("purchase", "u", "p", hour * HOUR_US) for hour in range(6)))

    def new_owner() -> None:
        Fold(plan, states, TOPIC).apply(sourced(placed))

    zombie = Fold(plan, hooked(states, entity, new_owner), TOPIC)
    counts = zombie.apply(sourced(placed[:3]))
    assert counts.conflicts >= 1
    assert everything(plan, states, placed) == once(plan, placed)


def test_a_recreated_topic_starts_again_at_offset_0(plan: Plan, states: States) -> None:
    """Old offsets say nothing of the new topic; what was counted stays; a pair that was known is no first again."""
    before = placed_of(*(Act("purchase", "u", "p", n) for n in range(5)))
    Fold(plan, states, TOPIC).apply(sourced(before))
    topic = b"another topic id"
    after = placed_of(Act("purchase", "u", "p", DAY_US), Act("purchase", "u", "q", DAY_US), Act("view", "u", "p", 9))
    fold = Fold(plan, states, topic)
    for part in (after[:2], after, after[1:]):
        fold.apply(sourced(part))
    user, product = values(plan, states, U), values(plan, states, P)
    assert (user["user_purchase_count"], user["user_distinct_products_purchased"]) == (7, 2)
    assert (user["user_view_count"], user["user_distinct_products_viewed"]) == (1, 1)
    assert (product["product_purchase_count"], product["product_distinct_buyers"]) == (6, 1)
    (stored,) = states.read([U])
    fence = Fence.decode(stored.fence)
    assert (fence.topic, fence.offsets, fence.generation) == (topic, {0: 2}, 1)


def test_a_worker_of_the_old_topic_cannot_write_over_the_new(plan: Plan, states: States) -> None:
    old = placed_of(Act("purchase", "u", "p", 0), Act("purchase", "u", "p", 1))
    new = placed_of(Act("purchase", "u", "p", 2))
    Fold(plan, states, TOPIC).apply(sourced(old[:1]))

    def other_topic() -> None:
        Fold(plan, states, b"another topic id").apply(sourced(new))

    Fold(plan, hooked(states, "product", other_topic), TOPIC).apply(sourced(old[1:]))
    product = values(plan, states, P)
    assert product["product_purchase_count"] == 3
    assert product["product_distinct_buyers"] == 1


def test_repartitioned_users_keep_their_counts(plan: Plan, states: States) -> None:
    """More partitions: the user's later events come from another one, where offsets start at 0."""
    early = [Placed(act(Act("purchase", "u", "p", n), f"a{n}"), 0, 10 + n) for n in range(3)]
    late = [Placed(act(Act("purchase", "u", ("p", "q")[n % 2], 9 + n), f"b{n}"), 5, n) for n in range(4)]
    fold = Fold(plan, states, TOPIC)
    for part in (early, late[:2], early[1:], late, early):
        fold.apply(sourced(part))
    user = values(plan, states, U)
    assert (user["user_purchase_count"], user["user_distinct_products_purchased"]) == (7, 2)
    (stored,) = states.read([U])
    assert Fence.decode(stored.fence).offsets == {0: 12, 5: 3}


@pytest.mark.integration
@examples(40)
@given(placed=streams(), data=st.data())
def test_states_that_go_back_are_folded_again(
    plan: Plan, states: States, placed: list[Placed], data: st.DataObject
) -> None:
    """
    events    |---- confirmed ----|---- folded ----|---- next ----|
    states                        ◀── some go back ─┘
    """
    states.clear()
    fold = Fold(plan, states, TOPIC)
    confirmed = data.draw(st.integers(0, len(placed)))
    folded = data.draw(st.integers(confirmed, len(placed)))
    fold.apply(sourced(placed[:confirmed]), watch=True)
    fold.forget()
    keys = [key for entity in ENTITIES for key in keys_of(entity, placed)]
    kept = dict(zip(keys, states.read(keys), strict=True))
    fold.apply(sourced(placed[confirmed:folded]), watch=True)
    lost = data.draw(st.lists(st.sampled_from(keys), unique=True))
    put_back(states, {key: kept[key] for key in lost}, TOPIC)
    with suppress(FailedOverError):
        fold.apply(sourced(placed[folded:]), watch=True)
    # It is noticed at once, or by whoever asks the primaries who they are; then all that is not confirmed comes again.
    fold.forget()
    fold.apply(sourced(placed[confirmed:]), watch=True)
    assert everything(plan, states, placed) == once(plan, placed)


def test_a_state_that_went_back_is_not_folded_on(plan: Plan, states: States) -> None:
    fold = Fold(plan, states, TOPIC)
    placed = placed_of(*(Act("view", "u", "p", n) for n in range(4)))
    fold.apply(sourced(placed[:1]), watch=True)
    keys = [U, P, EntityKey("user_product", ("p", "u"))]
    before = dict(zip(keys, states.read(keys), strict=True))
    fold.apply(sourced(placed[1:2]), watch=True)
    put_back(states, before, TOPIC)
    with pytest.raises(FailedOverError, match=r"is older than it was"):
        fold.apply(sourced(placed[2:]), watch=True)
    fold.forget()
    fold.apply(sourced(placed[1:]), watch=True)
    assert values(plan, states, U)["user_view_count"] == 4


def test_a_corrupted_state_is_refused_and_stays(plan: Plan, states: States) -> None:
    fold = Fold(plan, states, TOPIC)
    placed = placed_of(Act("view", "u", "p", 0), Act("view", "u", "p", 1))
    fold.apply(sourced(placed[:1]))
    put_back(states, {U: states.read([U])[0]._replace(state=b"\x01nonsense")}, TOPIC)
    with pytest.raises(StateError, match=r"user state: corrupted.*rebuild"):
        fold.apply(sourced(placed))
    assert states.read([U])[0].state == b"\x01nonsense"
