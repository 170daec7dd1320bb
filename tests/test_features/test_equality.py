"""One definition, many runtimes: Featuretools, DuckDB, folded states, states from the log and Feast, to the last digit.

    definitions ─┬─ oracle   Featuretools' calculate_feature_matrix, floored per hop
                 ├─ batch    DuckDB over the event log
                 ├─ states   events through Fold, as a stream brings them: late, again, in any order
                 ├─ backfill states from the log, byte for byte those of the stream
                 └─ Feast    get_historical_features and get_online_features

A failing case prints its events and cutoffs as a timeline.
"""

import random
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from event_streams import START_US, TOPIC, Act, Placed, act, as_log, moments, place, sourced, streams, timeline
from facts import fact_of
from feast_shop import feast_store
from hypothesis import given
from hypothesis import strategies as st
from more_definitions import define_more
from paths import Question, Values, assert_equal, batch_values, events_frame, fold_all, keys_of, state_values, unknown
from redis import Redis
from stores import EVERY_STORE
from thorough import examples

from data.clock import wall_clock
from data.default_shop import EVENT_TYPES, SHOP, ShopEvent
from data.importers import import_files, load_mapping
from data.log.event_log import EventLog
from data.units import DAY_US, HOUR_US, MINUTE_US, from_micros
from features.batch.engine import DuckDBEngine
from features.entities import ENTITIES
from features.plan.compiler import compile_features
from features.plan.entity_set import entity_set
from features.plan.plan import Plan
from features.state.algebra import Algebra
from features.state.fence import Fence
from features.state.fold import Fold
from features.state.memory import MemoryStates
from features.state.online.states import OnlineStates
from features.state.states import EntityKey, States
from features.state.values import EntityValues, Held, RequestValues, Value
from features.verify.oracle import Oracle

pytestmark = pytest.mark.integration  # it takes many seconds

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="session")
def more() -> Plan:
    """The definitions and some more, so that every primitive and window is tried."""
    return compile_features(define_more(entity_set()))


def oracle_values(question: Question) -> Values:
    oracle = Oracle(question.plan, events_frame(question.placed), define_more)
    answers: Values = {}
    for entity in ENTITIES:
        keys = keys_of(entity, question.placed)
        found = oracle.values(entity.name, [key.ids for key in keys], question.at_us)
        answers |= dict(zip(keys, found, strict=True))
    return answers


def ask_all(plan: Plan, placed: list[Placed], at_us: int, states: States, seed: int = 0) -> None:
    question = Question(plan, placed, at_us)
    with TemporaryDirectory() as folder:
        (batch,) = batch_values([question], Path(folder))
    folded = state_values(question, states, seed)
    assert_equal(question, {"batch": batch, "states": folded, "oracle": oracle_values(question)})


@pytest.mark.long
@examples(5)
@given(placed=streams(most=20), at_us=moments(75), seed=st.integers(0, 99))
def test_the_oracle_batch_and_states_agree(
    more: Plan, states: States, placed: list[Placed], at_us: int, seed: int
) -> None:
    ask_all(more, placed, at_us, states, seed)


@pytest.mark.long
@examples(10)
@given(placed=streams(most=60), cutoffs=st.lists(moments(75), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_batch_and_states_agree(
    more: Plan, states: States, placed: list[Placed], cutoffs: list[int], seed: int
) -> None:
    questions = [Question(more, placed, at_us) for at_us in cutoffs]
    with TemporaryDirectory() as folder:
        batch = batch_values(questions, Path(folder))
    for question, values in zip(questions, batch, strict=True):
        assert_equal(question, {"batch": values, "states": state_values(question, states, seed)})


@pytest.mark.long
@examples(60)
@given(placed=streams(most=40), times=st.lists(st.tuples(moments(75), st.integers(0, 400_000_000)), min_size=2))
def test_what_is_held_for_a_tile_changes_no_value(
    more: Plan, placed: list[Placed], times: list[tuple[int, int]]
) -> None:
    """Asked about any times, near and far, back and forth, and by several readers of the same state."""
    for entity in more.entities:
        readers = EntityValues(entity), EntityValues(entity, [feature.name for feature in entity.features][::2])
        state, held = readers[0].algebra.empty(), Held()
        for one in placed:
            readers[0].algebra.update(state, fact_of(one.event))
        for at_us, later_us in times:
            for now_us in (at_us, at_us + later_us):
                for of in readers:
                    assert of.get(state, now_us, held) == of.get(state, now_us)


def compare_bytes(plan: Plan, placed: list[Placed], states: States, seed: int) -> None:
    states.clear()
    fold_all(plan, placed, states, seed)
    with TemporaryDirectory() as folder, DuckDBEngine(as_log(EventLog(Path(folder)), placed), threads=1) as engine:
        for entity in ENTITIES:
            algebra = Algebra(plan.of(entity.name))
            rebuilt = {one.key: one for one in engine.states(algebra.plan)}
            keys = keys_of(entity, placed)
            streamed = {key: found for key, found in zip(keys, states.read(keys), strict=True) if found.state}
            assert rebuilt.keys() == streamed.keys()
            for key, (state, fence) in streamed.items():
                assert rebuilt[key].fence == Fence.decode(fence), f"{key}" + timeline(placed)
                assert algebra.decode(rebuilt[key].state) == algebra.decode(state), f"{key}" + timeline(placed)
                assert rebuilt[key].state == state, f"{key}: equal states in other bytes" + timeline(placed)


@pytest.mark.long
@examples(6)
@given(placed=streams(most=60), seed=st.integers(0, 99))
def test_states_from_the_log_are_those_of_the_stream_byte_for_byte(
    more: Plan, states: States, placed: list[Placed], seed: int
) -> None:
    compare_bytes(more, placed, states, seed)


@pytest.mark.long
def test_windows_hold_whole_tiles(more: Plan, states: States) -> None:
    """An event is in the window while its tile is; the tile that holds the cutoff is the window's last.

    tiles of an hour   |20:00 day 1|21:00 ...           ...|20:00 day 2|21:00
    events              e at 20:59                                      ^ e2 at 21:00
    views_24h at 20:59:59.999999, day 2: tiles 21:00 day 1 to 20:00 day 2: e is out
    """
    eve = START_US + DAY_US
    placed = place(
        [
            act(Act("view", "u", "p", 20 * HOUR_US + 59 * MINUTE_US), "e"),
            act(Act("view", "u", "p", 45 * HOUR_US), "e2"),
        ]
    )

    def views(at_us: int, window: str) -> object:
        question = Question(more, placed, at_us)
        return state_values(question, states, 0)[EntityKey("user", ("u",))][f"user_views_{window}"]

    assert views(eve + 20 * HOUR_US - 1, "24h") == 1
    assert views(eve + 20 * HOUR_US, "24h") == 0
    assert views(eve + 21 * HOUR_US, "24h") == 1
    assert views(eve + 21 * HOUR_US - 1, "24h") == 0, "an event after the cutoff does not count"
    assert views(START_US + 21 * HOUR_US + 54 * MINUTE_US, "1h") == 1
    assert views(START_US + 21 * HOUR_US + 55 * MINUTE_US, "1h") == 0
    assert views(START_US + 30 * DAY_US - 1, "30d") == 2
    assert views(START_US + 30 * DAY_US, "30d") == 1
    for at_us in (eve + 20 * HOUR_US, eve + 21 * HOUR_US, START_US + 30 * DAY_US, START_US + 30 * DAY_US - 1):
        ask_all(more, placed, at_us, states)


@pytest.mark.long
def test_amounts_of_1e15_agree(more: Plan, states: States) -> None:
    amounts = (1e15, 1e15 - 0.125, 999_999_999_999_999.875, 123_456_789_012_345.67, 0.0, 1e15, 0.01)
    acts = [Act("purchase", "u", "p", number * HOUR_US, amount) for number, amount in enumerate(amounts)]
    acts += [Act("return", "u", "p", (7 + number) * HOUR_US, amount) for number, amount in enumerate(amounts[:6])]
    placed = place([act(one, f"e{number}") for number, one in enumerate(acts)])
    ask_all(more, placed, START_US + DAY_US, states)
    values = state_values(Question(more, placed, START_US + DAY_US), states, 0)[EntityKey("user", ("u",))]
    assert values["user_net_spend"] == 0.01, "exact, where floats would cancel"
    compare_bytes(more, placed, states, 0)


@pytest.mark.long
def test_close_amounts_keep_their_deviation_and_close_times_their_trend(more: Plan, states: States) -> None:
    """Sums of squares cancel in floats: 50,000.00 to 50,000.02, a millisecond apart."""
    acts = [Act("purchase", "u", "p", HOUR_US + n * 1000, 50_000 + n % 3 / 100) for n in range(7)]
    placed = place([act(one, f"e{number}") for number, one in enumerate(acts)])
    question = Question(more, placed, START_US + DAY_US)
    with TemporaryDirectory() as folder:
        (batch,) = batch_values([question], Path(folder))
    folded = state_values(question, states, 0)
    assert_equal(question, {"batch": batch, "states": folded})
    values = folded[EntityKey("user", ("u",))]
    assert values["user_std_transaction_amount"] == pytest.approx(0.00899735410842437, rel=1e-9)
    assert values["user_more_std_amount_30d"] == values["user_std_transaction_amount"]


@pytest.fixture(scope="module")
def real(more: Plan, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Question, dict[str, Values]]]:
    """Questions about real rows, with the answers of the batch and of the oracle, which no store changes."""
    tables, _ = import_files(load_mapping("online-retail"), [SAMPLES / "online_retail.csv"], now_us=wall_clock())
    columns = ("event_id", "event_type", "user_id", "product_id", "amount", "timestamp", "quantity")
    placed = place(
        [ShopEvent(**{name: row[name] for name in columns}) for table in tables for row in table.to_pylist()]
    )
    newest = max(one.event.timestamp_us for one in placed)
    questions = [Question(more, placed, at_us) for at_us in (newest, newest // DAY_US * DAY_US, newest + 3 * DAY_US)]
    batch = batch_values(questions, tmp_path_factory.mktemp("real"))
    return [
        (question, {"batch": values, "oracle": oracle_values(question)})
        for question, values in zip(questions, batch, strict=True)
    ]


@EVERY_STORE
def test_real_rows_agree(real: list[tuple[Question, dict[str, Values]]], states: States) -> None:
    for question, answers in real:
        assert_equal(question, {"states": state_values(question, states, 0), **answers})


def test_the_request_agrees(more: Plan, states: States) -> None:
    acts = [
        Act("purchase", "u", "p", 0, 10.0),
        Act("purchase", "u", "p", 3 * DAY_US, 20.0),
        Act("view", "v", "p", DAY_US),
        Act("purchase", "w", "bc", DAY_US, 0.0),
    ]
    placed = place([act(one, f"e{number}") for number, one in enumerate(acts)])
    at_us = START_US + 5 * DAY_US + 13 * HOUR_US
    question = Question(more, placed, at_us)
    folded = state_values(question, states, 0)
    oracle = Oracle(more, events_frame(placed), define_more)
    request = RequestValues(more)
    for user, product, amount in (("u", "p", 30.0), ("u", "p", None), ("v", "p", 1.0), ("w", "bc", 1.0)):
        keys = EntityKey("user", (user,)), EntityKey("product", (product,)), EntityKey("user_product", (product, user))
        known = {name: value for key in keys for name, value in folded[key].items()}
        ours = dict(zip(request.names, request.get(known, (amount,), at_us), strict=True))
        theirs = oracle.request((amount,), at_us, user_id=user, product_id=product)
        assert {name: value is None for name, value in ours.items()} == {n: v is None for n, v in theirs.items()}
        for name, value in ours.items():
            assert value is None or value == pytest.approx(theirs[name], rel=1e-9), name
    assert ours["hour_of_day"] == 13
    assert ours["day_of_week"] == 1, "6 January 2026 is a Tuesday"


ENGINE = "features.feast_stores.engine.EncoreComputeEngine"


@pytest.mark.long
def test_feast_agrees(plan: Plan, tmp_path: Path, redis_client: "Redis[bytes]") -> None:
    """Half of the topic is materialized, the rest streamed; then Feast is asked about the present and the past."""
    chance = random.Random(3)
    users, products = ("u", "ü 🛒", "none"), ("p", "プロ", "'; --")
    acts = [
        Act(
            chance.choice(EVENT_TYPES),
            chance.choice(users),
            chance.choice(products),
            chance.randrange(400) * 2 * HOUR_US,
            chance.choice((0.0, 0.01, 12.34, 1e15)),
        )
        for _ in range(150)
    ]
    placed = place([act(one, f"e{number}") for number, one in enumerate(acts)])
    home = tmp_path / "home"
    log = as_log(EventLog(home / "log"), placed[:75])
    store = feast_store(home, redis_client, engine=ENGINE)
    store.materialize_incremental(end_date=datetime.now(UTC))
    states = OnlineStates(redis_client)
    assert Fold(plan, states, TOPIC).apply(sourced(placed)).folded == 75
    as_log(log, placed)

    newest = max(one.event.timestamp_us for one in placed)
    now = newest + 26 * HOUR_US + 5
    states.note_event(now)
    past = [START_US + 9 * DAY_US, START_US + 20 * DAY_US + 7 * HOUR_US + 1, newest]
    pairs = [(user, product) for user in (*users, "nobody") for product in (*products, "nothing")]
    questions = [Question(plan, placed, at_us) for at_us in (now, *past)]
    expected = [state_values(question, MemoryStates(), 1) for question in questions]
    service = store.get_feature_service("repeat_purchase")

    rows = [
        {"user_id": user, "product_id": product, "request_amount": 5.0, "request_time": from_micros(now)}
        for user, product in pairs
    ]
    online = store.get_online_features(features=service, entity_rows=rows).to_dict()
    asked = [(number, at, *pair) for number, at in enumerate((now, *past)) for pair in pairs]
    frame = pd.DataFrame(
        {
            "user_id": [user for _, _, user, _ in asked],
            "product_id": [product for _, _, _, product in asked],
            "request_amount": 5.0,
            "request_time": pd.to_datetime([at for _, at, _, _ in asked], unit="us", utc=True),
            "event_timestamp": pd.to_datetime([at for _, at, _, _ in asked], unit="us", utc=True),
        }
    )
    historical = store.get_historical_features(entity_df=frame, features=service).to_df()
    historical = historical.set_index(["event_timestamp", "user_id", "product_id"])
    for number, at, user, product in asked:
        known = {
            name: value
            for key in (("user", user), ("product", product), ("user_product", product, user))
            for name, value in values_of(expected[number], key).items()
        }
        request = RequestValues(plan)
        known |= dict(zip(request.names, request.get(known, (5.0,), at), strict=True))
        del known["request_amount"]  # to Feast it is a question's input, and no feature
        past_row = historical.loc[(pd.Timestamp(at, unit="us", tz="UTC"), user, product)]
        for name, value in known.items():
            answers = {"historical": past_row[name]}
            if number == 0:
                answers["online"] = online[name][pairs.index((user, product))]
            for path, answer in answers.items():
                missing = answer is None or pd.isna(answer)
                same = missing if value is None else not missing and answer == pytest.approx(value, rel=1e-9, abs=1e-9)
                assert same, f"{name} of {user!a}, {product!a}: {path} says {answer!r}, states {value!r}" + timeline(
                    placed, at
                )
                if isinstance(value, int):
                    assert answer == value


def values_of(values: Values, key: tuple[str, ...]) -> dict[str, Value]:
    """The values of an entity; of one that was not asked about, those of an unknown one."""
    entity, *ids = key
    found = values.get(EntityKey(entity, tuple(ids)))
    return found if found is not None else values[EntityKey(entity, unknown(SHOP.entity(entity)))]


@pytest.mark.long
def test_feasts_own_engine_gives_the_same_states(plan: Plan, tmp_path: Path, redis_client: "Redis[bytes]") -> None:
    acts = [Act(("view", "purchase")[n % 2], f"u{n % 3}", f"p{n % 2}", n * HOUR_US, n / 7) for n in range(40)]
    placed = place([act(one, f"e{number}") for number, one in enumerate(acts)])
    home = tmp_path / "home"
    as_log(EventLog(home / "log"), placed)
    found = []
    for project, engine in (("ours", ENGINE), ("feasts", None)):
        feast_store(home, redis_client, project=project, engine=engine).materialize_incremental(datetime.now(UTC))
        states = OnlineStates(redis_client, project)
        found.append([states.read(keys_of(entity, placed)) for entity in ENTITIES])
    assert found[0] == found[1]
    assert found[0][0][0].state
