"""Answers are the model's score of the values that the states give at the time asked."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from facts import distincts, some_fact
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs
from redis import Redis
from serving import DAY, HOUR, NOON, SHOPPING, fold_events, plan, promote, tiny_model
from shop_questions import ask, pair_key, product_key, user_key
from thorough import examples

from data.addresses import Address
from data.clock import ManualClock, wall_clock
from data.errors import AsOfError, BusyError, EncoreError, RedisRefusalError, UnavailableError
from data.event import FUTURE_TOLERANCE_US
from features.state.algebra import Algebra
from features.state.fence import Fence
from features.state.fold import Fold, Sourced
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import EntityKey, States, Stored
from features.state.values import EntityValues, RequestValues, Value
from model.artifact.predictor import Predictor
from model.registry.published import Registry
from server.process.server_process import free_port
from server.process.store import Store
from server.redis.memory import MemoryLiveStates
from server.redis.states import AsyncStates, LiveStates
from server.scoring.clock import choose_live_clock, told_by
from server.scoring.contenders import Models
from server.scoring.question import Question
from server.scoring.reader import Reader
from server.scoring.scoring import MAX_WAITING, Answer, Scoring
from server.scoring.telemetry import Telemetry

NEWEST = NOON - HOUR
"""The newest event of SHOPPING."""

TOO_EARLY = NEWEST - FUTURE_TOLERANCE_US - 1
"""A time about which a state with that event cannot answer."""


class Counting:
    """States that count their round trips, and the keys asked for."""

    def __init__(self, states: AsyncStates) -> None:
        self._states = states
        self.reads: list[int] = []

    async def read(self, keys: Sequence[EntityKey]) -> list[Stored | RedisRefusalError]:
        self.reads.append(len(keys))
        return await self._states.read(keys)

    async def newest_event(self) -> int | None:
        return await self._states.newest_event()


class Asked:
    """Scoring, asked from outside of its loop."""

    def __init__(self, scoring: Scoring, runner: asyncio.Runner) -> None:
        self._scoring = scoring
        self._runner = runner

    def score(self, questions: Sequence[Question]) -> list[Answer]:
        return self._runner.run(self._scoring.score(questions))

    def score_each(self, questions: Sequence[Question]) -> list[Answer | EncoreError]:
        return self._runner.run(self._scoring.score_each(questions))

    def together(self, *requests: Sequence[Question]) -> list[list[Answer] | BaseException]:
        """Answers to several requests that come at once, or why there are none."""

        async def gather() -> Any:
            return await asyncio.gather(*map(self._scoring.score, requests), return_exceptions=True)

        found: list[list[Answer] | BaseException] = self._runner.run(gather())
        return found


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def live(states: States) -> Counting:
    fold_events(states)
    return Counting(MemoryLiveStates(states))


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def scoring(live: Counting, telemetry: Telemetry, tmp_path: Path, runner: asyncio.Runner) -> Asked:
    promote(tmp_path, tiny_model(plan().names))
    return Asked(scoring_of(models_of(tmp_path), live, telemetry), runner)


def models_of(home: Path) -> Models:
    models = Models(Registry(home / "models"), ("repeat_purchase",), plan())
    models.refresh()
    return models


def scoring_of(
    models: Models, states: AsyncStates, telemetry: Telemetry, *, most_bytes: int = 1 << 20, **more: Any
) -> Scoring:
    reader = Reader(plan(), states, telemetry, most_bytes=most_bytes)
    clock = told_by(ManualClock(NOON))
    return Scoring(reader, models, clock, telemetry=telemetry, **more)


def overwrite(states: States, key: EntityKey, state: bytes) -> None:
    """Let a state be these bytes."""
    [before] = states.read([key])
    assert before.state
    assert states.compare_and_set({key: (before, state, Fence.decode(before.fence))}) == []


def directly(question: Question, at_us: int) -> dict[str, Value]:
    """The values without Redis: the events folded here, each of their pair's firsts counted."""
    seen: set[tuple[str, str, str]] = set()
    user, product = question.named.values()
    folded = {entity.entity: Algebra(entity).empty() for entity in plan().asked}
    for fact in SHOPPING:
        happened = (fact.event_type, fact.user_id, fact.product_id)
        first = happened not in seen
        seen.add(happened)
        for entity, mine in (
            ("user", fact.user_id == user),
            ("product", fact.product_id == product),
            ("user_product", (fact.user_id, fact.product_id) == (user, product)),
        ):
            if mine:
                algebra = Algebra(plan().of(entity))
                algebra.update(folded[entity], fact, distincts(algebra, fact) if first else ())
    named: dict[str, Value] = {}
    for entity, state in folded.items():
        values = EntityValues(plan().of(entity))
        named |= dict(zip(values.names, values.get(state, at_us), strict=True))
    request = RequestValues(plan())
    return named | dict(zip(request.names, request.get(named, question.measures, at_us), strict=True))


@pytest.mark.parametrize(
    ("question", "at_us", "cold"),
    [
        (ask("ann", "coffee", 12.0), NOON, False),
        (ask("ann", "sofa"), NOON, False),
        (ask("bob", "coffee", 0.0), NOON, False),
        (ask("ann", "tea", 3.0), NOON, True),
        (ask("eve", "coffee", 3.0), NOON, True),
        (ask("eve", "tea"), NOON, True),
        (ask("ann", "coffee", 12.0, NEWEST), NEWEST, False),
        (ask("ann", "coffee", 12.0, NOON + 40 * DAY), NOON + 40 * DAY, False),
        (ask("eve", "tea", 1.0, NOON - 300 * DAY), NOON - 300 * DAY, True),
    ],
)
def test_values_are_those_of_the_states_and_the_score_is_the_models(
    scoring: Asked, question: Question, at_us: int, cold: bool
) -> None:
    [answer] = scoring.score([question])
    expected = directly(question, at_us)
    assert dict(zip(answer.predictor.features, answer.values, strict=True)) == expected
    assert (answer.at_us, answer.cold_start) == (at_us, cold)
    row = [np.nan if expected[name] is None else expected[name] for name in plan().names]
    assert answer.probability == Predictor(tiny_model(plan().names)).score(np.array([row], np.float32))[0]
    assert answer.prediction == (answer.probability >= answer.predictor.threshold)


def test_the_events_are_in_the_values(scoring: Asked) -> None:
    """Against numbers worked out by hand from the timeline above SHOPPING."""
    [answer] = scoring.score([ask("ann", "coffee", 22.0)])
    named = dict(zip(answer.predictor.features, answer.values, strict=True))
    assert named["user_purchase_count"] == 3
    assert named["user_distinct_products_viewed"] == 2
    assert named["user_total_spend"] == 33.5
    assert named["user_purchases_24h"] == 1
    assert named["user_product_days_since_last_purchase"] == pytest.approx(1 / 24)
    assert named["product_distinct_viewers"] == 2
    assert named["product_repeat_purchase_rate"] == pytest.approx(2 / 3)
    assert named["amount_vs_user_avg"] == pytest.approx(22 / (33.5 / 3))
    assert (named["hour_of_day"], named["day_of_week"]) == (12, 6)
    assert named["user_product_std_transaction_amount"] is not None


def test_a_batch_answers_as_its_rows_do_alone(scoring: Asked, live: Counting) -> None:
    questions = [
        ask(user, product, amount, as_of)
        for user in ("ann", "bob", "eve")
        for product in ("coffee", "sofa", "tea")
        for amount in (None, 12.0)
        for as_of in (None, NOON + DAY)
    ]
    together = scoring.score(questions)
    assert live.reads == [3 + 3 + 9]
    alone = [scoring.score([question])[0] for question in questions]
    assert [one.probability for one in together] == pytest.approx([one.probability for one in alone], rel=1e-12)
    assert [structs.replace(one, probability=0.0) for one in together] == [
        structs.replace(one, probability=0.0) for one in alone
    ]
    assert len({answer.probability for answer in together}) > 3


def test_one_round_trip_for_one_question(scoring: Asked, live: Counting) -> None:
    scoring.score([ask("ann", "coffee")])
    assert live.reads == [3]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (ask("ann", "tea", None, TOO_EARLY), "2026-03-01T11:00:00"),  # the user's newest event
        (ask("eve", "coffee", None, TOO_EARLY), "2026-03-01T11:00:00"),  # the product's
        (ask("bob", "sofa", None, NOON - 4 * DAY), "2026-02-26T12:00:00"),  # the product's, after the user's
        (ask("eve", "tea", None, NOON + 3661 * DAY), "more than ten years ahead"),
        (ask("eve", "tea", None, -1), "before 1970"),
    ],
)
def test_a_time_that_states_cannot_answer_about_is_refused(scoring: Asked, question: Question, message: str) -> None:
    with pytest.raises(AsOfError, match=message) as refused:
        scoring.score([ask("ann", "coffee"), question])
    assert refused.value.row == 1


def test_an_event_ahead_of_the_clock_moves_nobody_else(scoring: Asked, states: States) -> None:
    """A producer's clock may run up to 5 minutes ahead. Its event is true, and its entities answer as of it; the user
    who asks about such a product answers as of now, alone or with it."""
    ahead = NOON + 290_000_000
    before = scoring.score([ask("ann", "coffee")])[0]
    fold_events(states, [some_fact("view", "zoe", "coffee", ahead, 1, 1, "late")], first_offset=100)
    for as_of in (None, NOON):
        [answer] = scoring.score([ask("ann", "coffee", None, as_of)])
        assert answer.at_us == NOON
        known, named = (dict(zip(one.predictor.features, one.values, strict=True)) for one in (before, answer))
        own = [name for name in named if not name.startswith("product_")]
        assert {name: named[name] for name in own} == {name: known[name] for name in own}
        assert named["product_days_since_last_purchase"] == (ahead - NEWEST) / DAY


def test_a_row_that_cannot_be_answered_is_told_in_its_place(
    tmp_path: Path, store: Store, redis_client: "Redis[bytes]"
) -> None:
    fold_events(OnlineStates(redis_client))
    promote(tmp_path, tiny_model(plan().names))
    redis_client.delete(redis_key(user_key("bob")))
    redis_client.set(redis_key(user_key("bob")), "mine")
    questions = [ask("ann", "tea", None, TOO_EARLY), ask("ann", "coffee"), ask("bob", "tea")]
    with asyncio.Runner() as runner, closing(LiveStates([Address(store.host, store.port)])) as live:
        scoring = Asked(scoring_of(models_of(tmp_path), live, Telemetry()), runner)
        early, answer, refused = scoring.score_each(questions)
        alone = scoring.score([questions[1]])[0]
    assert isinstance(early, AsOfError)
    assert isinstance(refused, UnavailableError)
    assert answer == alone


@pytest.mark.parametrize(
    ("key", "cold"), [(user_key("ann"), True), (product_key("coffee"), True), (pair_key("ann", "coffee"), False)]
)
def test_a_damaged_state_is_served_as_never_seen(
    scoring: Asked,
    states: States,
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
    key: EntityKey,
    cold: bool,
) -> None:
    overwrite(states, key, states.read([key])[0].state[:-3])
    hurt, well = scoring.score([ask("ann", "coffee"), ask("bob", "sofa")])
    assert hurt.cold_start == cold
    assert not well.cold_start
    named = dict(zip(hurt.predictor.features, hurt.values, strict=True))
    assert named[f"{key.entity}_purchase_count"] == 0
    assert sum(named[f"{other}_purchase_count"] or 0 for other in ("user", "product", "user_product")) == 6
    assert telemetry.damaged_states == 1
    assert repr(redis_key(key)) in " ".join(caplog.messages)
    assert "corrupted" in " ".join(caplog.messages)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The states that are decoded, one after another."""
    found: list[bytes] = []
    decode = Algebra.decode

    def noted(algebra: Algebra, data: bytes) -> Any:
        found.append(data)
        return decode(algebra, data)

    monkeypatch.setattr(Algebra, "decode", noted)
    return found


def test_a_state_is_decoded_again_when_it_has_changed(scoring: Asked, states: States, decoded: list[bytes]) -> None:
    question = ask("ann", "coffee", 12.0)
    [first] = scoring.score([question])
    assert len(decoded) == 3
    [again] = scoring.score([question])
    assert len(decoded) == 3
    assert again.values == first.values
    [later] = scoring.score([question._replace(as_of_us=NOON + 40 * DAY)])
    assert len(decoded) == 3
    assert later.values != first.values, "features are of the time asked, decoded or not"
    # Another user's purchase of the same product.
    fold = Fold(plan(), states, b"f" * 16)
    fold.apply([Sourced(some_fact("purchase", "zoe", "coffee", NOON - 60, 5_000_000, 1, "late"), 0, 0)])
    decoded.clear()
    [changed] = scoring.score([question])
    assert len(decoded) == 1
    named = dict(zip(changed.predictor.features, changed.values, strict=True))
    before = dict(zip(first.predictor.features, first.values, strict=True))
    assert named["product_purchase_count"] == (before["product_purchase_count"] or 0) + 1


def test_states_that_are_kept_decoded_are_bounded(
    scoring: Asked, live: Counting, decoded: list[bytes], tmp_path: Path, runner: asyncio.Runner
) -> None:
    of_one = Asked(scoring_of(models_of(tmp_path), live, Telemetry(), most_bytes=1), runner)
    asked = [ask("ann", "coffee"), ask("bob", "sofa"), ask("bob", "coffee")]
    together = of_one.score(asked)
    decoded.clear()
    alone = [answer for question in asked for answer in of_one.score([question])]
    assert len(decoded) > 5, "of six states the newest alone was kept"
    assert [answer.values for answer in alone] == [answer.values for answer in together]
    scoring.score(asked)
    decoded.clear()
    assert [answer.values for answer in scoring.score(asked)] == [answer.values for answer in together]
    assert decoded == []


def test_many_small_states_are_bounded_too(
    live: Counting, states: States, decoded: list[bytes], tmp_path: Path, runner: asyncio.Runner
) -> None:
    promote(tmp_path, tiny_model(plan().names))
    fold = Fold(plan(), states, b"f" * 16)
    names = [f"small {number}" for number in range(30)]
    fold.apply([Sourced(some_fact("view", name, name, NOON - 60, 0, 1, name), 0, at) for at, name in enumerate(names)])
    bounded = Asked(scoring_of(models_of(tmp_path), live, Telemetry(), most_bytes=20_000), runner)
    for name in names:
        bounded.score([ask(name, name)])
    assert sum(map(len, decoded)) < 20_000
    decoded.clear()
    bounded.score([ask(names[-1], names[-1])])
    assert decoded == []
    bounded.score([ask(names[0], names[0])])
    assert len(decoded) == 3, "each takes memory beside its bytes"


def test_states_that_change_leave_their_place_in_the_bound(
    live: Counting, states: States, decoded: list[bytes], tmp_path: Path, runner: asyncio.Runner
) -> None:
    question = ask("zoe", "coffee")
    promote(tmp_path, tiny_model(plan().names))
    fold = Fold(plan(), states, b"f" * 16)
    bounded = Asked(scoring_of(models_of(tmp_path), live, Telemetry(), most_bytes=6_000), runner)
    for number in range(40):
        late = some_fact("purchase", "zoe", "coffee", NOON - 60 - number, 5_000_000, 1, f"late {number}")
        fold.apply([Sourced(late, 0, number)])
        bounded.score([question])
    assert sum(map(len, decoded)) > 4 * 6_000
    decoded.clear()
    bounded.score([question])
    assert decoded == [], "the states of one question take less than the bound"


@pytest.mark.integration
@examples(300)
@given(st.sampled_from(["user", "product", "user_product"]), st.integers(0, 2**16), st.binary(min_size=1, max_size=4))
@example("user", 0, b"")
def test_no_bytes_in_a_state_stop_an_answer(
    scoring: Asked, states: States, entity: str, place: int, garbage: bytes
) -> None:
    """Some changes make another state that is sound, which only a checksum could tell."""
    key = {"user": user_key("ann"), "product": product_key("coffee"), "user_product": pair_key("ann", "coffee")}[entity]
    whole = states.read([key])[0].state
    place %= len(whole)
    overwrite(states, key, whole[:place] + garbage + whole[place + len(garbage) :])
    try:
        answer, well = scoring.score([ask("ann", "coffee", 3.0), ask("bob", "sofa", 3.0, NOON + DAY)])
    finally:
        overwrite(states, key, whole)
    assert 0 <= answer.probability <= 1
    assert answer.at.year
    assert well.at_us == NOON + DAY


def test_without_redis_it_is_unavailable(tmp_path: Path, runner: asyncio.Runner) -> None:
    nobody = LiveStates([Address("127.0.0.1", free_port())])
    promote(tmp_path, tiny_model(plan().names))
    lost = Asked(scoring_of(models_of(tmp_path), nobody, Telemetry()), runner)
    with pytest.raises(UnavailableError, match="REDIS_HOST"):
        lost.score([ask("ann", "coffee")])


def test_requests_that_come_together_share_one_read_and_are_answered_each_for_itself(
    scoring: Asked, live: Counting
) -> None:
    requests = [
        [ask("ann", "coffee", 1.0)],
        [ask("ann", "coffee", None, TOO_EARLY)],
        [ask("bob", "sofa"), ask("ann", "coffee")],
    ]
    first, refused, second = scoring.together(*requests)
    assert live.reads == [3 + 3]
    assert isinstance(refused, AsOfError)
    assert [first, second] == [scoring.score(requests[0]), scoring.score(requests[2])]


def test_a_key_that_redis_refuses_hurts_only_whoever_asks_for_it(
    tmp_path: Path, store: Store, redis_client: "Redis[bytes]", caplog: pytest.LogCaptureFixture
) -> None:
    fold_events(OnlineStates(redis_client))
    promote(tmp_path, tiny_model(plan().names))
    redis_client.delete(redis_key(user_key("ann")))
    redis_client.set(redis_key(user_key("ann")), "mine")
    with asyncio.Runner() as runner, closing(LiveStates([Address(store.host, store.port)])) as live:
        scoring = Asked(scoring_of(models_of(tmp_path), live, Telemetry()), runner)
        refused, well = scoring.together([ask("ann", "coffee")], [ask("bob", "coffee")])
    assert isinstance(refused, UnavailableError)
    assert "WRONGTYPE" in str(refused)
    assert isinstance(well, list)
    assert repr(redis_key(user_key("ann"))) in " ".join(caplog.messages)


def test_too_much_at_once_is_refused(scoring: Asked) -> None:
    row = ask("ann", "coffee")
    answers = scoring.together(*[[row] * 1000] * (MAX_WAITING // 1000), [row])
    assert [type(answer) for answer in answers] == [list] * (MAX_WAITING // 1000) + [BusyError]
    assert scoring.score([row])


def test_answers_can_be_observed_after_they_are_given(tmp_path: Path, live: Counting, runner: asyncio.Runner) -> None:
    promote(tmp_path, tiny_model(plan().names))
    seen: list[Sequence[Answer]] = []
    observed = scoring_of(models_of(tmp_path), live, Telemetry(), observe=seen.append)
    answers = Asked(observed, runner).score([ask("ann", "coffee")])
    runner.run(asyncio.sleep(0))
    assert seen == [answers]


def test_the_clock_of_events_is_the_newest_one_folded(live: Counting, states: States, runner: asyncio.Runner) -> None:
    wall = choose_live_clock("wall", live)
    assert abs(runner.run(wall()) - wall_clock()) < 60_000_000
    clock = choose_live_clock("events", live)
    assert runner.run(clock()) == NEWEST
    states.clear()
    assert abs(runner.run(clock()) - wall_clock()) < 60_000_000
