"""What the API asks and answers follows from what the schema asks."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException, Request
from msgspec.structs import replace
from other_shop import RIDES
from pydantic import ValidationError
from serving import make_home

from data.default_shop import SHOP
from data.project import Project
from data.schema import Entity, EventType, Measure, Schema
from features.state.states import EntityKey
from server.api.app import create_app
from server.api.asking import asking_of
from server.api.schemas import RankRequest
from server.api.scoring_app import scoring_router
from server.scoring.question import keys_of
from server.settings import Settings

TRAM = Schema(
    types=(EventType("ride"),),
    keys=("rider",),
    labels=("tariff",),
    measures=(Measure("minutes", most=100), Measure("fare", decimals=2, least=-5, most=5)),
    ordered_by="rider",
    entities=(
        Entity("rider", ("rider",), "somebody who rides"),
        Entity("rider_tariff", ("tariff", "rider")),
        Entity("tariff", ("tariff",)),
    ),
    asks=("rider", "tariff", "fare"),
)


def test_a_question_names_what_the_schema_asks_and_its_entities_follow() -> None:
    asking = asking_of(TRAM)
    asked = asking.body.model_validate_json(b'{"rider": "ann", "tariff": "day", "fare": 1.5, "event_type": "ride"}')
    question = asking.question(asked)
    assert (question.named, question.measures, question.about) == ({"rider": "ann", "tariff": "day"}, (1.5,), "ann")
    assert keys_of(TRAM.asked, TRAM)(question.named) == (
        EntityKey("rider", ("ann",)),
        EntityKey("rider_tariff", ("ann", "day")),
        EntityKey("tariff", ("day",)),
    )
    bare = asking.question(asking.query.model_validate({"rider": "ann"}))
    assert (bare.named, bare.measures) == ({"rider": "ann", "tariff": None}, (None,))
    assert keys_of(TRAM.asked, TRAM)(bare.named)[1:] == (
        EntityKey("rider_tariff", ("ann", "")),
        EntityKey("tariff", ("",)),
    )


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({}, "rider"),
        ({"rider": ""}, "rider"),
        ({"rider": "a\n"}, "rider"),
        ({"rider": "a", "fare": 6}, "fare"),
        ({"rider": "a", "fare": "1"}, "fare"),
        ({"rider": "a", "minutes": 6}, "minutes"),
        ({"rider": "a", "tariff": "x" * 257}, "tariff"),
        ({"rider": "a", "event_type": "purchase"}, "event_type"),
        ({"rider": "a", "user_id": "u"}, "user_id"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(said: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as raised:
        asking_of(TRAM).row.model_validate(said)
    assert [error["loc"][0] for error in raised.value.errors()] == [place]


def test_an_amount_in_a_query_may_be_a_text_and_in_a_body_not() -> None:
    assert asking_of(SHOP).query.model_validate({"user_id": "u", "product_id": "p", "amount": "2.5"})
    with pytest.raises(ValidationError):
        asking_of(SHOP).body.model_validate({"user_id": "u", "product_id": "p", "amount": "2.5"})


@pytest.fixture
def app(tmp_path: Path) -> Any:
    class Tram(Project):
        schema = TRAM

    project = Tram("tram", {}, (), tmp_path)
    return create_app(Settings(home=make_home(tmp_path / "home")).declared_by(project))


def test_the_description_of_the_api_is_the_projects(app: Any) -> None:
    described = app.openapi()
    schemas = described["components"]["schemas"]
    asked = schemas["PredictRequest"]["properties"]
    assert list(asked) == ["rider", "tariff", "fare", "event_type", "as_of", "explain", "top_k", "target"]
    assert schemas["PredictRequest"]["required"] == ["rider"]
    assert asked["rider"]["description"] == "somebody who rides"
    assert {"rider", "tariff", "confidence"} <= schemas["Prediction"]["properties"].keys()
    assert not {"user_id", "product_id"} & (schemas["Prediction"]["properties"].keys() | asked.keys())
    query = [one["name"] for one in described["paths"]["/predict"]["get"]["parameters"]]
    assert query == ["rider", "tariff", "fare", "event_type", "as_of", "explain", "top_k", "target"]
    assert {"rider", "tariff", "features"} <= schemas["WhatIfRequest"]["properties"].keys()


def test_a_route_for_users_and_products_says_what_is_asked_elsewhere() -> None:
    [rank] = [route for route in scoring_router(asking_of(TRAM)).routes if getattr(route, "path", "") == "/rank"]
    request = Request({"type": "http", "query_string": b""})
    with pytest.raises(HTTPException, match="questions of this project name rider, tariff; ask `/predict/batch`"):
        asyncio.run(rank.endpoint(RankRequest(user_id="ann", products=["tea"]), request))  # type: ignore[attr-defined]


def test_a_schema_that_asks_nothing_has_no_entities_to_read() -> None:
    silent = replace(RIDES, asks=())
    assert keys_of(silent.asked, silent)({}) == ()
