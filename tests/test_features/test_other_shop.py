"""A schema of other names and shapes gives the same on every path, as the default shop's does.

What differs: three keys in an entity, entities that events lack, an ordering key that is not first, signed measures,
other decimals, conditions on labels, other windows.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from event_streams import START_US, TOPIC, Placed, as_log, moments
from hypothesis import given
from hypothesis import strategies as st
from other_shop import RIDES, define_rides, rides, rides_plan, some_rides
from paths import Question, Values, assert_equal, batch_values, events_frame, fold_all, keys_of, state_values
from redis import Redis
from thorough import examples
from verifying import verify_log

from data.errors import DefinitionError
from data.log.event_log import EventLog
from data.log.memory import MemoryLog
from data.units import DAY_US
from features.batch.engine import DuckDBEngine
from features.batch.repair import remake
from features.plan.describe import describe
from features.plan.plan import Plan
from features.state.algebra import Algebra
from features.state.fence import Fence
from features.state.memory import MemoryStates
from features.state.online.states import OnlineStates
from features.state.states import States
from features.verify.oracle import Oracle

pytestmark = pytest.mark.integration  # it takes many seconds


@pytest.fixture(scope="module")
def plan() -> Plan:
    return rides_plan()


def oracle_values(question: Question) -> Values:
    oracle = Oracle(question.plan, events_frame(question.placed), define_rides)
    answers: Values = {}
    for entity in RIDES.entities:
        keys = keys_of(entity, question.placed)
        found = oracle.values(entity.name, [key.ids for key in keys], question.at_us)
        answers |= dict(zip(keys, found, strict=True))
    return answers


def ask_all(question: Question, states: States, seed: int, *, oracle: bool = True) -> None:
    with TemporaryDirectory() as folder:
        (batch,) = batch_values([question], Path(folder))
    paths = {"batch": batch, "states": state_values(question, states, seed)}
    assert_equal(question, paths | ({"oracle": oracle_values(question)} if oracle else {}))


def compare_bytes(plan: Plan, placed: list[Placed], states: States, seed: int) -> None:
    states.clear()
    fold_all(plan, placed, states, seed)
    with TemporaryDirectory() as folder:
        log = as_log(EventLog(Path(folder), RIDES), placed)
        with DuckDBEngine(log, threads=1) as engine:
            for entity in RIDES.entities:
                algebra = Algebra(plan.of(entity.name))
                rebuilt = {one.key: one for one in engine.states(algebra.plan)}
                keys = keys_of(entity, placed)
                streamed = {key: found for key, found in zip(keys, states.read(keys), strict=True) if found.state}
                assert rebuilt.keys() == streamed.keys()
                for key, (state, fence) in streamed.items():
                    assert rebuilt[key].fence == Fence.decode(fence), key
                    assert algebra.decode(rebuilt[key].state) == algebra.decode(state), key
                    assert rebuilt[key].state == state, key


@pytest.mark.long
@examples(3)
@given(placed=rides(most=25), at_us=moments(12), seed=st.integers(0, 99))
def test_batch_and_states_agree(plan: Plan, placed: list[Placed], at_us: int, seed: int) -> None:
    ask_all(Question(plan, placed, at_us), MemoryStates(RIDES), seed, oracle=False)


@pytest.mark.long
@examples(3)
@given(placed=rides(most=40), seed=st.integers(0, 99))
def test_states_from_the_log_are_those_of_the_stream_byte_for_byte(plan: Plan, placed: list[Placed], seed: int) -> None:
    compare_bytes(plan, placed, MemoryStates(RIDES), seed)


@pytest.mark.long
def test_all_paths_agree_with_the_oracle(plan: Plan, redis_client: "Redis[bytes]") -> None:
    placed = some_rides(60)
    states = OnlineStates(redis_client, "rides", RIDES)
    for at_us in (START_US + 5 * DAY_US, START_US + 8 * DAY_US + 1):
        ask_all(Question(plan, placed, at_us), states, 7)
    compare_bytes(plan, placed, states, 3)
    assert set(states.counts()) == {entity.name for entity in RIDES.entities}


@pytest.mark.long
def test_it_is_verified(plan: Plan, tmp_path: Path) -> None:
    placed, states = some_rides(60), MemoryStates(RIDES)
    log = as_log(EventLog(tmp_path, RIDES), placed)
    fold_all(plan, placed, states, 1)
    verdict = verify_log(plan, log, states, sample=2, at_us=START_US + 9 * DAY_US, definitions=define_rides)
    assert verdict.disagreements == []
    assert verdict.ok
    assert verdict.entities == 2 * len(RIDES.entities)


def test_states_are_made_anew(plan: Plan, tmp_path: Path) -> None:
    placed, states, whole = some_rides(60), MemoryStates(RIDES), MemoryStates(RIDES)
    log = as_log(EventLog(tmp_path, RIDES), placed)
    fold_all(plan, placed, whole, 1)
    keys = [key for entity in RIDES.entities for key in keys_of(entity, placed)]
    keys = [key for key, found in zip(keys, whole.read(keys), strict=True) if found.state]
    remake(plan, states, log, TOPIC, keys=keys, newer=list)
    assert [one.state for one in states.read(keys)] == [one.state for one in whole.read(keys)]


def test_the_log_holds_its_columns(tmp_path: Path) -> None:
    placed = some_rides(20)
    for log in (EventLog(tmp_path, RIDES), MemoryLog(RIDES)):
        rows = [row for table in as_log(log, placed).tables() for row in table.to_pylist()]
        assert {row["event_id"]: row["change"] for row in rows} == {
            one.event.event_id: one.event.change for one in placed
        }


def test_descriptions_name_its_events(plan: Plan) -> None:
    words = {feature.name: describe(feature, RIDES) for feature in plan.features}
    assert words["rider_wet_rides_3d"] == "Number of rides of weather rain or snow over the last 3d."
    assert words["rider_station_tariffs"] == "Number of distinct tariff among cancellations or rides."
    assert words["rider_mean_change"] == "Average change of rides or top up events of tariff day."


def test_a_distinct_needs_one_partition_and_an_entity(plan: Plan) -> None:
    import featuretools as ft

    from features.plan.compiler import compile_features
    from features.plan.entity_set import entity_set
    from features.primitives import NumUnique

    shop = entity_set(RIDES)
    for frame, column, reason in (
        ("stations", "tariff", "declare an entity with the keys station, tariff"),
        ("riders", "weather", "declare an entity with the keys rider, weather"),
    ):
        feature = ft.Feature(shop["events"].ww[column], parent_dataframe_name=frame, primitive=NumUnique)
        with pytest.raises(DefinitionError, match=reason):
            compile_features([feature.rename("wanted")], RIDES)
