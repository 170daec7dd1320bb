"""A model's inputs are those of the whole plan, and only what they need is read and computed."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from serving import NOON, fold_events, plan
from shop_questions import ask

from features.plan.groups import names_without
from features.state.memory import MemoryStates
from features.state.values import Value
from server.redis.memory import MemoryLiveStates
from server.scoring.inputs import Inputs
from server.scoring.question import Question
from server.scoring.reader import ReadEntity, Reader
from server.scoring.telemetry import Telemetry

pytestmark = pytest.mark.integration  # it scores with hundreds of models


@pytest.fixture(scope="module")
def reader() -> Reader:
    states = MemoryStates()
    fold_events(states)
    return Reader(plan(), MemoryLiveStates(states), Telemetry())


def read(reader: Reader, inputs: Inputs, question: Question) -> list[ReadEntity]:
    return list(asyncio.run(reader.read(inputs.keys_of(question.named))).values())


def values_of(reader: Reader, names: Sequence[str], question: Question) -> tuple[Value, ...]:
    inputs = Inputs(plan(), names)
    return inputs.of_question(inputs.of_entities(read(reader, inputs, question), NOON), question.measures, NOON)


@pytest.mark.long
@given(st.lists(st.sampled_from(plan().names), unique=True, min_size=1))
@example(["day_of_week"])
@example(["amount_vs_user_avg"])
def test_some_features_have_the_values_that_they_have_among_all(reader: Reader, names: list[str]) -> None:
    for question in (ask("ann", "coffee", 12.0), ask("eve", "sofa")):
        everything = dict(zip(plan().names, values_of(reader, plan().names, question), strict=True))
        assert values_of(reader, names, question) == tuple(everything[name] for name in names)


def test_an_entity_of_which_nothing_is_needed_is_read_only_where_it_says_whether_it_was_seen(reader: Reader) -> None:
    alone = [feature.name for entity in ("user", "product") for feature in plan().of(entity).features]
    calendar, no_pair = Inputs(plan(), ["day_of_week"]), Inputs(plan(), alone)
    for inputs in (calendar, no_pair):
        known = read(reader, inputs, ask("ann", "coffee"))
        assert [entity.key.entity for entity in known] == ["user", "product"]
        assert inputs.named_alone == (0, 1)
    assert calendar.entity_names == ()
    assert no_pair.entity_names == tuple(alone)
    assert [one.key.entity for one in read(reader, Inputs(plan(), plan().names), ask("ann", "coffee"))][2:] == [
        "user_product"
    ]


def test_a_group_left_out_is_computed_only_for_what_another_feature_needs_of_it(reader: Reader) -> None:
    names = names_without(plan(), ["user.money"])
    assert "user_avg_transaction_amount" not in names
    inputs = Inputs(plan(), names)
    assert set(inputs.entity_names) - set(names) == {"user_avg_transaction_amount"}  # `amount_vs_user_avg` needs it
