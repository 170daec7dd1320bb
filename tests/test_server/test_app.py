"""Every route over a real store, with good input, bad input, and with something missing."""

import json
import logging
import math
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from polling import poll_until
from redis import Redis
from serving import (
    NOON,
    TestClient,
    fold_events,
    make_app,
    make_home,
    plan,
    promote,
    tiny_model,
)
from shop_questions import user_key
from thorough import examples

from data.clock import ManualClock
from data.default_shop import SHOP
from data.errors import ConfigurationError
from events.stream.heartbeat import Heartbeats, WorkerStatus
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from features.state.values import EntityValues
from server.api.asking import asking_of
from server.api.schemas import Ranking
from server.jobs.audit import Audit
from server.process.server_process import free_port
from server.process.store import Store
from server.scoring.scoring import Answer

ANSWER = {
    "prediction",
    "confidence",
    "user_id",
    "product_id",
    "features_used",
    "timestamp",
    "target",
    "model_version",
    "model_role",
    "threshold",
    "cold_start",
    "prediction_id",
}

per_example = examples(60)


@pytest.fixture
def own_client(home: Path, store: Store, redis_client: "Redis[bytes]") -> Iterator[TestClient]:
    """Of an app of this test's alone, which may count what it answers, or harm its store."""
    fold_events(OnlineStates(redis_client))
    with TestClient(make_app(home, store.host, store.port, ManualClock(NOON))) as client:
        yield client


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[TestClient]:
    home = make_home(tmp_path_factory.mktemp("home"))
    promote(home, tiny_model(plan().names))
    with TestClient(make_app(home, store.host, store.port, ManualClock(NOON))) as client:
        yield client


@pytest.fixture
def client(running: TestClient, redis_client: "Redis[bytes]") -> TestClient:
    """Of an app that answers many tests: starting one takes a tenth of a second."""
    fold_events(OnlineStates(redis_client))
    return running


def wrong(response: Any) -> list[list[str | int]]:
    """Where a refused request is wrong; every refusal has a message and repeats no input."""
    assert response.status_code == 422, response.text
    told = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (told["type"], told["status"]) == ("about:blank", 422)
    assert told["title"].startswith("Unprocessable")
    assert told["detail"].startswith(".".join(map(str, told["errors"][0]["loc"])))
    assert all(set(found) == {"loc", "msg", "type"} and found["msg"] for found in told["errors"])
    return [found["loc"] for found in told["errors"]]


def told(response: Any, status: int) -> str:
    """What a problem says."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    return str(problem["detail"])


def test_predict(client: TestClient) -> None:
    response = client.post("/predict", json={"user_id": "ann", "product_id": "coffee", "amount": 12.5})
    assert response.status_code == 200
    answer = response.json()
    assert set(answer) == ANSWER
    assert (answer["user_id"], answer["product_id"], answer["cold_start"]) == ("ann", "coffee", False)
    assert list(answer["features_used"]) == list(plan().names)
    assert answer["features_used"]["request_amount"] == 12.5
    assert answer["features_used"]["user_purchase_count"] == 3
    assert answer["features_used"]["user_product_avg_days_between_purchases"] == pytest.approx((20 - 1 / 24) / 2)
    assert answer["timestamp"] == "2026-03-01T12:00:00Z"
    assert answer["model_version"] == tiny_model(plan().names).metadata.version
    assert 0 <= answer["confidence"] <= 1
    assert answer["prediction"] == (answer["confidence"] >= answer["threshold"])


def test_what_never_happened_is_null(client: TestClient) -> None:
    answer = client.post("/predict", json={"user_id": "bob", "product_id": "coffee"}).json()
    assert answer["features_used"]["user_days_since_last_purchase"] is None
    assert answer["features_used"]["request_amount"] is None
    assert answer["features_used"]["user_purchase_count"] == 0


@pytest.mark.long
@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/rank", "/predict/what-if"])
@pytest.mark.parametrize("names", [["n" * 500_000], [f"n{n}" for n in range(20_000)]], ids=["long", "many"])
def test_a_refusal_is_short_whatever_it_is_of(client: TestClient, path: str, names: list[str]) -> None:
    """2 MiB of wrong names were answered by nine."""
    body = {"rows": [dict.fromkeys(names, 1)]} if path == "/predict/batch" else dict.fromkeys(names, 1)
    response = client.post(path, json=body)
    assert 1 <= len(wrong(response)) <= 100
    assert len(response.content) < 50_000
    if len(names) > 1:
        assert re.search(r", and [12]\d{4} more$", response.json()["detail"])


@pytest.mark.parametrize(
    "asked",
    [
        {"user_id": "ann", "product_id": "coffee"},
        {"user_id": "ann", "product_id": "sofa", "amount": 799.99, "event_type": "view"},
        {"user_id": "žofie & co/1", "product_id": "☕+100%", "as_of": "2026-03-09T14:00:00.25+02:00"},
    ],
)
def test_get_answers_as_post(client: TestClient, asked: dict[str, Any]) -> None:
    by_query = client.get("/predict", params=asked)
    assert by_query.status_code == 200
    assert by_query.json() == client.post("/predict", json=asked).json()


@pytest.mark.parametrize(
    ("said", "origin"), [(None, "live"), ("console", "console"), ("probe", "probe"), ("Live", "live"), ("x", "live")]
)
def test_an_answer_knows_who_asked(own_client: TestClient, said: str | None, origin: str) -> None:
    seen: list[Answer] = []
    own_client.app.state.parts.scoring.observe = seen.extend  # type: ignore[attr-defined]
    headers = {} if said is None else {"X-Encore-Origin": said}
    asked = {"user_id": "ann", "product_id": "coffee"}
    assert own_client.get("/predict", params=asked, headers=headers).status_code == 200
    assert own_client.post("/predict", json=asked, headers=headers).status_code == 200
    assert own_client.post("/predict/batch", json={"rows": [asked]}, headers=headers).status_code == 200
    assert own_client.post("/rank", json={"user_id": "ann", "products": ["tea"]}, headers=headers).status_code == 200
    assert [answer.origin for answer in seen] == [origin] * 4


@pytest.mark.parametrize(
    ("user", "product", "cold"), [("eve", "coffee", True), ("ann", "tea", True), ("bob", "sofa", False)]
)
def test_the_unknown_are_scored_and_marked(client: TestClient, user: str, product: str, cold: bool) -> None:
    answer = client.post("/predict", json={"user_id": user, "product_id": product}).json()
    assert answer["cold_start"] is cold
    assert 0 <= answer["confidence"] <= 1


def test_a_batch_answers_as_its_rows_do_alone(client: TestClient) -> None:
    rows = [
        {"user_id": user, "product_id": product, "amount": 12}
        for user in ("ann", "bob", "eve")
        for product in ("coffee", "sofa")
    ]
    response = client.post("/predict/batch", json={"rows": rows})
    assert response.status_code == 200
    for together, row in zip(response.json()["predictions"], rows, strict=True):
        alone = client.post("/predict", json=row).json()
        assert together == alone | {"confidence": pytest.approx(alone["confidence"], rel=1e-12)}


def test_a_batch_holds_1_to_1000_rows(client: TestClient) -> None:
    row = {"user_id": "ann", "product_id": "coffee"}
    assert wrong(client.post("/predict/batch", json={"rows": []})) == [["body", "rows"]]
    assert wrong(client.post("/predict/batch", json={"rows": [row] * 1001})) == [["body", "rows"]]
    assert len(client.post("/predict/batch", json={"rows": [row] * 1000}).json()["predictions"]) == 1000


def test_as_of(client: TestClient) -> None:
    asked = {"user_id": "ann", "product_id": "coffee"}
    later = client.post("/predict", json=asked | {"as_of": "2026-03-02T13:00:00+01:00"}).json()
    assert later["timestamp"] == "2026-03-02T12:00:00Z"
    assert later["features_used"]["user_product_days_since_last_purchase"] == pytest.approx(25 / 24)
    assert later["features_used"]["user_purchases_24h"] == 0

    early = asked | {"as_of": "2026-03-01T10:54:59Z"}
    refused = client.post("/predict", json=early)
    assert wrong(refused) == [["body", "as_of"]]
    assert "2026-03-01T11:00:00+00:00" in refused.json()["detail"]
    assert wrong(client.get("/predict", params=early)) == [["query", "as_of"]]
    assert wrong(client.post("/predict/batch", json={"rows": [early]})) == [["body", "rows", 0, "as_of"]]
    assert wrong(client.post("/predict", json=asked | {"as_of": "2126-03-01T10:59:59Z"})) == [["body", "as_of"]]


def test_a_clock_behind_the_newest_event_is_answered_as_of_that_event(client: TestClient) -> None:
    """A caller says its own now, and a product sells at this very moment: nothing is refused."""
    asked = {"user_id": "ann", "product_id": "coffee"}
    newest = client.post("/predict", json=asked | {"as_of": "2026-03-01T11:00:00Z"}).json()
    behind = client.post("/predict", json=asked | {"as_of": "2026-03-01T10:59:59Z"}).json()
    assert behind["timestamp"] == "2026-03-01T10:59:59Z"
    assert behind["features_used"] == newest["features_used"] | {"hour_of_day": 10}
    known = client.get("/features/ann", params={"as_of": "2026-03-01T10:55:00Z"}).json()
    assert known["age_seconds"] == {"user": 0.0}


def test_a_row_without_an_answer_refuses_no_other(client: TestClient) -> None:
    asked = {"user_id": "ann", "product_id": "coffee"}
    rows = [asked, asked | {"as_of": "2026-03-01T10:54:59Z"}, {"user_id": "eve", "product_id": "tea"}]
    answered = client.post("/predict/batch", json={"rows": rows}).json()
    alone = [client.post("/predict", json=row).json() for row in (rows[0], rows[2])]
    assert [answered["predictions"][place]["features_used"] for place in (0, 2)] == [
        one["features_used"] for one in alone
    ]
    assert answered["predictions"][1] is None
    [error] = answered["errors"]
    assert (error["row"], error["type"]) == (1, "as_of")
    assert "2026-03-01T11:00:00+00:00" in error["detail"]


def test_a_product_that_cannot_be_asked_about_leaves_the_others_their_places(client: TestClient) -> None:
    asked = {"user_id": "eve", "products": ["coffee", "tea"], "as_of": "2026-03-01T10:54:59Z"}
    answer = client.post("/rank", json=asked).json()
    assert [one["product_id"] for one in answer["ranking"]] == ["tea"]
    assert [(error["row"], error["type"]) for error in answer["errors"]] == [(0, "as_of")]
    assert wrong(client.post("/rank", json=asked | {"products": ["coffee"]})) == [["body", "as_of"]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user_id", ""),
        ("user_id", "u" * 129),
        ("user_id", "a\nb"),
        ("user_id", "a\u00a0b"),
        ("user_id", 17),
        ("user_id", None),
        ("product_id", ["coffee"]),
        ("product_id", "\x00"),
        ("amount", -0.01),
        ("amount", 1.1e15),
        ("amount", "12"),
        ("amount", True),
        ("event_type", "wishlist"),
        ("as_of", "2026-03-01T12:00:00"),
        ("as_of", "2026-03-01"),
        ("as_of", 1772366400),
        ("as_of", "soon"),
        ("as_of", "0001-01-01T00:00:00+23:59"),
        ("asof", "2026-03-01T12:00:00Z"),
    ],
)
def test_a_bad_field_is_named(client: TestClient, field: str, value: Any) -> None:
    asked = {"user_id": "ann", "product_id": "coffee"} | {field: value}
    assert wrong(client.post("/predict", json=asked)) == [["body", field]]
    rows = {"rows": [{"user_id": "ann", "product_id": "coffee"}, asked]}
    assert wrong(client.post("/predict/batch", json=rows)) == [["body", "rows", 1, field]]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1" + "0" * 400])
def test_an_amount_that_is_no_number_is_named(client: TestClient, number: str) -> None:
    body = '{"user_id": "ann", "product_id": "coffee", "amount": %s}' % number  # noqa: UP031 - braces
    response = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert wrong(response) == [["body", "amount"]]


def test_missing_fields_are_named(client: TestClient) -> None:
    assert wrong(client.post("/predict", json={})) == [["body", "user_id"], ["body", "product_id"]]
    assert wrong(client.get("/predict")) == [["query", "user_id"], ["query", "product_id"]]
    assert wrong(client.get("/predict", params={"user_id": "ann", "product_id": "tea", "amount": "nan"})) == [
        ["query", "amount"]
    ]
    assert wrong(client.post("/predict/batch", json=[])) == [["body"]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b'"ann"',
        b"[" * 100_000,
        b'{"user_id": "ann", "product_id": "coffee", "amount": ' + b"1" * 5000 + b"}",
        b"\xff\xfe",
        b'{"user_id": "\\ud800", "product_id": "coffee"}',
        b'{"user_id": "ann", "product_id": "coffee", "\\ud800": 1}',
    ],
)
def test_a_body_that_is_no_question_is_refused(client: TestClient, body: bytes) -> None:
    for kind in ("application/json", "text/plain"):
        response = client.post("/predict", content=body, headers={"content-type": kind})
        assert response.status_code in (400, 422)
        assert "Traceback" not in response.text


WHOLE = b'{"user_id": "ann", "product_id": "coffee", "amount": 12.5, "as_of": "2026-03-01T12:00:00Z", "explain": false}'


@per_example
@given(st.integers(0, len(WHOLE) - 1), st.sampled_from([b"", b"\0", b"]", b'"', b"\xff", b",{}"]))
def test_a_body_cut_short_is_refused(client: TestClient, length: int, more: bytes) -> None:
    response = client.post("/predict", content=WHOLE[:length] + more, headers={"content-type": "application/json"})
    assert response.status_code == 422, response.text
    assert "Traceback" not in response.text


deep = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=40,
)


@pytest.mark.long
@per_example
@given(
    path=st.sampled_from(["/predict", "/predict/batch", "/predict/what-if", "/rank"]),
    field=st.sampled_from(["user_id", "product_id", "amount", "rows", "products", "features", "as_of", "target"]),
    value=deep,
    depth=st.integers(0, 5_000),
)
def test_deep_json_is_refused_or_answered(client: TestClient, path: str, field: str, value: object, depth: int) -> None:
    asked = {"user_id": "ann", "product_id": "coffee", field: "here"}
    body = json.dumps(asked).replace('"here"', "[" * depth + json.dumps(value) + "]" * depth)
    response = client.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400, 422), response.text  # 400: too deep to be read as JSON at all
    assert "Traceback" not in response.text


@per_example
@given(user=st.text(), product=st.text(max_size=130))
@example(user=".", product="..")
@example(user="a/b?c#d%2F", product=" ")
@example(user="\u202e", product="\U0001f600")
def test_an_id_is_taken_or_refused_by_the_rule_of_events(client: TestClient, user: str, product: str) -> None:
    bad = [
        ["body", field]
        for field, text in (("user_id", user), ("product_id", product))
        if not (1 <= len(text) <= 128 and text.isprintable())
    ]
    response = client.post("/predict", json={"user_id": user, "product_id": product})
    if bad:
        assert wrong(response) == bad
    else:
        assert response.status_code == 200
        assert response.json()["cold_start"]


@per_example
@given(st.text(st.characters(codec="utf-8", exclude_characters="%"), min_size=1, max_size=128).filter(str.isprintable))
@example("a/b")
@example("/")
@example("č?&#=+")
def test_any_printable_user_can_be_looked_up(client: TestClient, user: str) -> None:
    # Without the per cent sign, which the test client decodes twice; a real server has its turn below.
    quoted = "".join(f"%{byte:02X}" for byte in user.encode())
    response = client.get(f"/features/{quoted}")
    assert told(response, 404) == f"nobody has seen user {user}"


def test_features_of_a_user(client: TestClient) -> None:
    answer = client.get("/features/ann")
    assert answer.status_code == 200
    known = answer.json()
    assert (known["user_id"], known["product_id"], known["timestamp"]) == ("ann", None, "2026-03-01T12:00:00Z")
    assert list(known["features"]) == [feature.name for feature in plan().of("user").features]
    assert known["features"]["user_total_spend"] == 33.5
    assert known["last_event"] == {"user": "2026-03-01T11:00:00Z"}
    assert known["age_seconds"] == {"user": 3600.0}


def test_features_are_those_of_the_state(own_client: TestClient, redis_client: "Redis[bytes]") -> None:
    known = own_client.get("/features/ann", params={"product_id": "coffee"}).json()
    expected: dict[str, Any] = {}
    for entity, ids in (("user", ("ann",)), ("product", ("coffee",)), ("user_product", ("coffee", "ann"))):
        values = EntityValues(plan().of(entity))
        [stored] = OnlineStates(redis_client).read([EntityKey(entity, ids)])
        expected |= dict(zip(values.names, values.get(values.algebra.decode(stored.state), NOON), strict=True))
    assert known["features"] == expected
    assert set(known["last_event"].values()) == {"2026-03-01T11:00:00Z"}


def test_features_with_a_product_nobody_has_seen(client: TestClient) -> None:
    known = client.get("/features/bob", params={"product_id": "tea"}).json()
    assert known["last_event"] == {"user": "2026-02-24T12:00:00Z", "product": None, "user_product": None}
    assert known["features"]["product_view_count"] == 0
    assert known["features"]["user_view_count"] == 1


def test_features_of_nobody_are_not_found(client: TestClient) -> None:
    assert client.get("/features/eve").status_code == 404
    assert client.get("/features/eve", params={"product_id": "coffee"}).status_code == 404
    assert wrong(client.get("/features/")) == [["path", "user_id"]]
    assert wrong(client.get("/features/a%00b")) == [["path", "user_id"]]
    assert wrong(client.get("/features/ann", params={"product_id": "\n"})) == [["query", "product_id"]]


def test_health_counts(own_client: TestClient) -> None:
    before = own_client.get("/health")
    assert before.status_code == 200
    assert before.json() == {
        "status": "ok",
        "redis": {"ok": True, "error": None, "newest_event": "2026-03-01T11:00:00Z"},
        "model": {"loaded": True, "version": tiny_model(plan().names).metadata.version, "error": None},
        "version": own_client.get("/openapi.json").json()["info"]["version"],
        "feature_plan": plan().hash,
        "requests": 0,
        "predictions": 0,
        "damaged_states": 0,
        "last_prediction": None,
    }
    own_client.get("/features/ann")
    own_client.post("/predict", json={})
    row = {"user_id": "ann", "product_id": "coffee"}
    own_client.post("/predict/batch", json={"rows": [row, row | {"user_id": "bob"}]})
    after = own_client.get("/health").json()
    assert (after["requests"], after["predictions"]) == (3, 2)
    assert after["last_prediction"]["user_id"] == "bob"
    assert 0 <= after["last_prediction"]["confidence"] <= 1
    assert after["last_prediction"]["at"].endswith("Z")


def test_model_info(client: TestClient) -> None:
    info = client.get("/model/info").json()
    metadata = tiny_model(plan().names).metadata
    assert (info["version"], info["threshold"]) == (metadata.version, metadata.threshold)
    assert (info["features"], info["horizon_days"]) == (list(plan().names), 30)
    assert info["metrics"]["test"]["roc_auc"] == metadata.metrics["test"].roc_auc
    assert info["parts"]["train"]["rows"] == metadata.parts["train"].rows


def test_the_document_has_every_route_with_examples(own_client: TestClient) -> None:
    document = own_client.get("/openapi.json").json()
    assert {(path, verb) for path, verbs in document["paths"].items() for verb in verbs} >= {
        ("/predict", "post"),
        ("/predict", "get"),
        ("/predict/batch", "post"),
        ("/rank", "post"),
        ("/features/{user_id}", "get"),
        ("/products/{product_id}/features", "get"),
        ("/health", "get"),
        ("/health/live", "get"),
        ("/health/ready", "get"),
        ("/metrics", "get"),
        ("/model/info", "get"),
        ("/model/metrics", "get"),
        ("/models", "get"),
        ("/models/{target}/{version}", "get"),
        ("/models/{target}/promote", "post"),
        ("/models/{target}/rollback", "post"),
        ("/models/{target}/withdraw", "post"),
        ("/models/{target}/retrain", "post"),
        ("/quality/live", "get"),
        ("/quality/drift", "get"),
        ("/interventions", "get"),
    }
    assert own_client.get("/docs").status_code == 200
    schemas = document["components"]["schemas"]
    for name, path in (("PredictRequest", "/predict"), ("BatchRequest", "/predict/batch"), ("RankRequest", "/rank")):
        [given] = schemas[name]["examples"]
        assert own_client.post(path, json=given).status_code == 200
    assert schemas["Prediction"]["properties"].keys() == ANSWER | {
        "explanation",
        "risk_level",
        "recommended_intervention",
        "estimated_margin_impact",
        "impact_basis",
    }
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                assert status < "400" or "application/json" not in response.get("content", {})
                for content in response.get("content", {}).values() if status >= "400" else ():
                    name = content["schema"]["$ref"].rpartition("/")[2]
                    assert {"type", "title", "status", "detail"} <= schemas[name][
                        "properties"
                    ].keys() or name == "Health"


def test_answers_are_as_the_document_describes_them(client: TestClient) -> None:
    """They are written without FastAPI's own check."""
    asked = {"user_id": "ann", "product_id": "coffee", "amount": 12.5}
    for answer in (client.post("/predict", json=asked), client.post("/predict?explain=true", json=asked)):
        assert asking_of(SHOP).prediction.model_validate_json(answer.content, strict=True)
    batch = client.post("/predict/batch", json={"rows": [asked, {"user_id": "eve", "product_id": "tea"}]})
    assert (
        len(asking_of(SHOP).batch_answer.model_validate_json(batch.content, strict=True).model_dump()["predictions"])
        == 2
    )
    ranking = client.post("/rank", json={"user_id": "ann", "products": ["coffee", "tea"]})
    assert Ranking.model_validate_json(ranking.content, strict=True)


@pytest.mark.parametrize("how", ["body", "query", "get"])
def test_an_explanation_adds_up_to_the_score(client: TestClient, how: str) -> None:
    asked: dict[str, Any] = {"user_id": "ann", "product_id": "coffee", "amount": 12.5}
    options = {"explain": True, "top_k": 4}
    if how == "get":
        answer = client.get("/predict", params=asked | options)
    elif how == "body":
        answer = client.post("/predict", json=asked | options)
    else:
        answer = client.post("/predict?explain=true&top_k=4", json=asked)
    told = answer.json()
    parts = told["explanation"]
    assert len(parts["contributions"]) == 4
    sizes = [abs(part["contribution"]) for part in parts["contributions"]]
    assert sizes == sorted(sizes, reverse=True)
    total = parts["base"] + sum(part["contribution"] for part in parts["contributions"]) + parts["rest"]
    assert total == pytest.approx(parts["log_odds"], abs=1e-9)
    confidence = told["confidence"]
    assert total == pytest.approx(math.log(confidence / (1 - confidence)), abs=1e-3)
    assert all(part["value"] == told["features_used"][part["feature"]] for part in parts["contributions"])
    assert "explanation" not in client.post("/predict", json=asked).json()


def test_options_in_the_query_string_are_checked(client: TestClient) -> None:
    asked = {"user_id": "ann", "product_id": "coffee"}
    assert wrong(client.post("/predict?top_k=0", json=asked)) == [["query", "top_k"]]
    assert wrong(client.post("/predict?explane=true", json=asked)) == [["query", "explane"]]
    assert wrong(client.post("/predict?target=churn", json=asked)) == [["query", "target"]]
    assert wrong(client.post("/predict", json=asked | {"target": "churn"})) == [["body", "target"]]
    assert wrong(client.get("/predict", params=asked | {"target": "churn"})) == [["query", "target"]]
    assert client.post("/predict?target=repeat_purchase", json=asked).status_code == 200


def test_a_ranking_is_the_products_by_score(client: TestClient) -> None:
    products = ["sofa", "tea", "coffee"]
    answer = client.post("/rank", json={"user_id": "ann", "products": products}).json()
    alone = {
        product: client.post("/predict", json={"user_id": "ann", "product_id": product}).json()["confidence"]
        for product in products
    }
    assert [(one["product_id"], one["confidence"]) for one in answer["ranking"]] == sorted(
        alone.items(), key=lambda item: -item[1]
    )
    assert {one["product_id"] for one in answer["ranking"] if one["cold_start"]} == {"tea"}
    assert wrong(client.post("/rank", json={"user_id": "ann", "products": []})) == [["body", "products"]]
    assert wrong(client.post("/rank", json={"user_id": "ann", "products": ["a"] * 2})) == [["body", "products"]]
    many = [f"p{number}" for number in range(501)]
    assert wrong(client.post("/rank", json={"user_id": "ann", "products": many})) == [["body", "products"]]
    assert len(client.post("/rank", json={"user_id": "ann", "products": many[:500]}).json()["ranking"]) == 500


def test_features_of_a_product_and_of_another_time(client: TestClient) -> None:
    known = client.get("/products/coffee/features").json()
    assert known["features"]["product_purchase_count"] == 3
    assert known["last_event"] == {"product": "2026-03-01T11:00:00Z"}
    assert known["age_seconds"] == {"product": 3600.0}
    later = client.get("/products/coffee/features", params={"as_of": "2026-03-02T11:00:00Z"}).json()
    assert (later["timestamp"], later["age_seconds"]) == ("2026-03-02T11:00:00Z", {"product": 86_400.0})
    assert later["features"]["product_purchases_1h"] == 0
    assert client.get("/products/shoe/features").status_code == 404
    later = client.get("/features/ann", params={"product_id": "tea", "as_of": "2026-03-02T11:00:00Z"}).json()
    assert later["age_seconds"] == {"user": 86_400.0, "product": None, "user_product": None}
    early = {"as_of": "2026-03-01T10:54:59Z"}
    assert wrong(client.get("/features/ann", params=early)) == [["query", "as_of"]]
    assert wrong(client.get("/products/coffee/features", params=early)) == [["query", "as_of"]]


def test_features_of_any_entity(client: TestClient) -> None:
    def ask(entity: str, *key: str) -> Any:
        return client.get(f"/entities/{entity}/features", params={"key": list(key)})

    known = ask("user_category", "drinks", "ann").json()
    assert (known["entity"], known["key"]) == ("user_category", {"category": "drinks", "user_id": "ann"})
    assert known["features"]["user_category_purchase_count"] == 3
    assert known["last_event"] == {"user_category": "2026-03-01T11:00:00Z"}
    assert ask("category", "sofas & beds").json()["features"]["category_distinct_viewers"] == 1
    assert ask("user", "ann").json()["features"] == client.get("/features/ann").json()["features"]
    assert ask("category", "hats").json()["detail"] == "nobody has seen category hats"
    assert ask("brand", "x").json()["detail"] == (
        "no entity is called brand; there are user, product, user_product, category, user_category"
    )
    for keys in (["ann"], ["drinks", "ann", "ann"], [""], []):
        found = ask("user_category", *keys)
        assert wrong(found)[0][:2] == ["query", "key"], keys


def test_the_metrics_of_the_model(own_client: TestClient) -> None:
    told = own_client.get("/model/metrics").json()
    metadata = tiny_model(plan().names).metadata
    assert told["metrics"]["test"]["roc_auc"] == metadata.metrics["test"].roc_auc
    assert told["version"] == metadata.version
    assert told["parts"]["test"]["rows"] == metadata.parts["test"].rows


def test_the_same_routes_under_a_version(client: TestClient) -> None:
    asked = {"user_id": "ann", "product_id": "coffee"}
    assert client.post("/api/v1/predict", json=asked).json() == client.post("/predict", json=asked).json()
    assert client.get("/api/v1/features/ann").json() == client.get("/features/ann").json()
    assert client.get("/api/v1/health/live").json() == {"status": "ok"}
    assert told(client.get("/api/v1/nothing"), 404)


def test_every_answer_names_itself_and_what_answered(client: TestClient) -> None:
    for path in ("/features/ann", "/features/eve", "/nothing", "/health", "/predict", "/openapi.json"):
        answer = client.get(path)
        assert answer.headers["x-feature-plan"] == plan().hash
        assert answer.headers["x-model-version"] == tiny_model(plan().names).metadata.version
        assert len(answer.headers["x-request-id"]) == 16
    assert client.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for odd in ("a b", "x" * 65, "é"):
        assert client.get("/health", headers={"x-request-id": odd.encode()}).headers["x-request-id"] != odd
    assert told(client.delete("/predict"), 405)


def test_a_body_that_is_too_large_is_not_read(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b" " * 2**20,) * 3

    assert told(client.post("/predict", content=b" " * (2**21 + 1)), 413)
    json_type = {"content-type": "application/json"}
    assert told(client.post("/predict", content=chunks(), headers=json_type), 413)


def test_live_and_ready(home: Path) -> None:
    with TestClient(make_app(home, "127.0.0.1", free_port(), ManualClock(NOON))) as client:
        assert client.get("/health/live").status_code == 200
        assert "Redis" in told(client.get("/health/ready"), 503)


def test_without_a_model_it_says_so_and_takes_one_when_it_comes(
    tmp_path: Path, store: Store, redis_client: "Redis[bytes]"
) -> None:
    fold_events(OnlineStates(redis_client))
    home = make_home(tmp_path / "home")
    asked = {"user_id": "ann", "product_id": "coffee"}
    with TestClient(make_app(home, store.host, store.port, ManualClock(NOON))) as client:
        for response in (client.post("/predict", json=asked), client.get("/model/info"), client.get("/health")):
            assert response.status_code == 503
            assert "no model" in response.text
            assert "encore train" in response.text
        assert client.get("/health").json()["redis"]["ok"]
        assert client.get("/features/ann").status_code == 200
        version = promote(home, tiny_model(plan().names))
        poll_until(lambda: client.get("/health").status_code == 200)
        assert client.post("/predict", json=asked).json()["model_version"] == version


def test_a_new_champion_answers_without_a_restart(own_client: TestClient, home: Path) -> None:
    second = promote(home, tiny_model(plan().names, 1))
    poll_until(lambda: own_client.get("/health").json()["model"]["version"] == second)
    answer = own_client.post("/predict", json={"user_id": "ann", "product_id": "coffee"}).json()
    assert answer["model_version"] == own_client.get("/model/info").json()["version"] == second


def test_a_champion_that_does_not_fit_leaves_the_old_one_serving(own_client: TestClient, home: Path) -> None:
    promote(home, tiny_model(("user_shoe_size",), feature_plan="0ther"))
    poll_until(lambda: own_client.get("/health").json()["model"]["error"])
    health = own_client.get("/health")
    assert health.status_code == 200
    assert "user_shoe_size" in health.json()["model"]["error"]
    answer = own_client.post("/predict", json={"user_id": "ann", "product_id": "coffee"})
    assert answer.json()["model_version"] == tiny_model(plan().names).metadata.version


@pytest.mark.integration
def test_redis_gone_and_back(home: Path, tmp_path: Path) -> None:
    asked = {"user_id": "ann", "product_id": "coffee"}
    store = Store(free_port(), tmp_path / "store")
    with TestClient(make_app(home, store.host, store.port, ManualClock(NOON))) as client:
        for response in (
            client.post("/predict", json=asked),
            client.get("/predict", params=asked),
            client.post("/predict/batch", json={"rows": [asked]}),
            client.get("/features/ann"),
            client.get("/health"),
        ):
            assert response.status_code == 503
            assert "Redis" in response.text
            assert "encore infra" in response.text
        assert client.get("/health").json()["model"]["loaded"]
        assert client.get("/model/info").status_code == 200
        with store:
            assert client.post("/predict", json=asked).status_code == 200
        assert client.post("/predict", json=asked).status_code == 503
        with store:
            assert client.post("/predict", json=asked).status_code == 200


@pytest.mark.long
def test_a_redis_that_does_not_answer_counts_as_gone(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        app = make_app(home, "127.0.0.1", silent.getsockname()[1], ManualClock(NOON))
        with TestClient(app) as client:
            response = client.get("/features/ann")
    assert response.status_code == 503
    assert "in time" in response.json()["detail"]


def test_a_key_of_another_program_is_unavailable_not_a_bug(
    own_client: TestClient, redis_client: "Redis[bytes]"
) -> None:
    redis_client.delete(redis_key(user_key("ann")))
    redis_client.set(redis_key(user_key("ann")), "mine")
    response = own_client.get("/features/ann")
    assert response.status_code == 503
    assert "WRONGTYPE" in response.json()["detail"]
    assert own_client.get("/features/bob").status_code == 200


def test_a_damaged_user_is_counted(own_client: TestClient, redis_client: "Redis[bytes]") -> None:
    redis_client.hset(redis_key(user_key("ann")), "s", b"\x01nonsense")
    assert own_client.post("/predict", json={"user_id": "ann", "product_id": "coffee"}).json()["cold_start"]
    assert own_client.get("/health").json()["damaged_states"] == 1


def test_a_store_that_has_forgotten_is_degraded_and_says_so(
    own_client: TestClient, home: Path, redis_client: "Redis[bytes]"
) -> None:
    states = OnlineStates(redis_client)
    states.inventory.vouch({"user": 2, "product": 2, "user_product": 3, "category": 0, "user_category": 0})
    assert own_client.get("/health").json()["status"] == "ok"
    redis_client.flushall()
    health = own_client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert health.json()["doubtful"] == [entity.name for entity in SHOP.entities]
    assert "Redis has forgotten" in health.json()["problems"][0]
    assert "encore_problems 1.0" in own_client.get("/metrics").text
    states.inventory.vouch({"user": 0, "product": 0, "user_product": 0, "category": 0, "user_category": 0})
    assert own_client.get("/health").json()["status"] == "ok"


def test_a_worker_that_stands_still_degrades_health(own_client: TestClient, redis_client: "Redis[bytes]") -> None:
    beat = WorkerStatus("w", 1, 1, 0, 0, 0.0, {}, 0, {0: 114_000}, {0: 114_000}, None, stood_s=900.0)
    Heartbeats(redis_client, "encore").beat(beat)
    health = own_client.get("/health").json()
    assert health["status"] == "degraded"
    assert health["problems"][0].startswith("stream: w is stalled: 114,000 messages wait")


def test_a_newest_event_of_another_type_is_none(own_client: TestClient, redis_client: "Redis[bytes]") -> None:
    for value in ("x", None):
        redis_client.delete("encore:newest_event")
        if value is None:
            redis_client.execute_command("ZADD", "encore:newest_event", "inf", "event")
        else:
            redis_client.set("encore:newest_event", value)
        health = own_client.get("/health")
        assert (health.status_code, health.json()["redis"]["newest_event"]) == (200, None)


def test_a_bug_is_not_shown(home: Path, store: Store, redis_client: "Redis[bytes]") -> None:
    def fail() -> int:
        raise RuntimeError("secret detail")

    fold_events(OnlineStates(redis_client))
    with TestClient(make_app(home, store.host, store.port, fail), raise_server_exceptions=False) as client:
        response = client.post("/predict", json={"user_id": "ann", "product_id": "coffee"})
    assert told(response, 500) == "an error in the server; its log says more"


def test_now_is_the_newest_event_where_the_settings_say_so(
    home: Path, store: Store, redis_client: "Redis[bytes]"
) -> None:
    fold_events(OnlineStates(redis_client))
    with TestClient(make_app(home, store.host, store.port, kind="events")) as client:
        assert client.get("/features/bob").json()["timestamp"] == "2026-03-01T11:00:00Z"
    with TestClient(make_app(home, store.host, store.port)) as client:
        assert client.get("/features/bob").json()["timestamp"] > "2026-03-01T12:00:00Z"


def test_making_an_app_touches_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        make_app(tmp_path / "home", "127.0.0.1", free_port())
    assert not (tmp_path / "home").exists()


_SERVE = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from starlette.testclient import TestClient
from server.api.app import create_app
from server.settings import read_settings
settings = read_settings(
    home=Path(sys.argv[1]), redis_host=sys.argv[2], redis_port=int(sys.argv[3]), predictions_topic="off"
)
with TestClient(create_app(settings)) as client:
    print(client.post("/predict", json={"user_id": "ann", "product_id": "coffee"}).status_code)
heavy = ("pandas", "feast", "featuretools", "sklearn", "skl2onnx", "onnx", "duckdb", "ibis", "scipy", "kafka")
print([name for name in heavy if name in sys.modules])
"""


@pytest.mark.long
def test_serving_imports_none_of_the_heavy_libraries(home: Path, store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SERVE, str(home), store.host, str(store.port)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["200", "[]"]


@pytest.mark.long
def test_a_real_server_of_the_environment(home: Path, store: Store) -> None:
    port = free_port()
    environment = {"ENCORE_HOME": str(home), "REDIS_HOST": store.host, "REDIS_PORT": str(store.port)}
    environment |= {"API_PORT": str(port)}
    command = [sys.executable, "-m", "server.cli", "serve"]
    with subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL) as server:
        try:
            base = f"http://127.0.0.1:{port}"
            poll_until(lambda: status_of(f"{base}/health") == 200)
            assert status_of(f"{base}/predict?user_id=%252F&product_id=a%2Bb%20c") == 200
            assert status_of(f"{base}/features/%252F") == 404
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{base}/features/%252F%FF")
            assert json.load(refused.value)["detail"] == "path: is not UTF-8, percent-encoded"
        finally:
            server.terminate()


def test_a_server_without_limits_of_a_connection_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by `uvicorn --factory server.api.app:app_from_environment`: it would buffer a head without end."""
    from server.api.app import app_from_environment

    monkeypatch.setenv("ENCORE_HOME", str(home))
    with pytest.raises(ConfigurationError, match="`encore serve`"):
        app_from_environment()


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except urllib.error.URLError:
        return 0


def test_metrics(own_client: TestClient, redis_client: "Redis[bytes]") -> None:
    def value(name: str) -> str | None:
        lines = own_client.get("/metrics").text.splitlines()
        return next((line.split()[1] for line in lines if line.startswith(f"{name} ")), None)

    before = float(value("encore_requests_total") or 0)
    answered = own_client.get("/predict?user_id=ann&product_id=coffee")
    assert answered.status_code == 200, answered.text
    assert float(value("encore_requests_total") or 0) == before + 1
    assert value("encore_redis_up") == "1.0"
    assert value("encore_audit_values") is None
    found = Audit(at_us=1_000_000, entities=3, values=90, differing=2, differences=["user u user_view_count"])
    redis_client.set("encore:audit", msgspec.json.encode(found))
    assert value("encore_audit_values") == "90.0"
    assert value("encore_audit_differing_values") == "2.0"


@pytest.mark.parametrize(
    "text", ["1_000", " 5", "+5", "5 ", "٣", "0x10", "007", "1e", ".5", "5.", "1,000", "²", "True", "inf"]
)
@pytest.mark.parametrize("field", ["amount", "top_k"])
def test_numbers_in_a_query_string_are_written_as_in_json(client: TestClient, field: str, text: str) -> None:
    asked = {"user_id": "ann", "product_id": "coffee"}
    assert wrong(client.get("/predict", params=asked | {field: text})) == [["query", field]]
    if field == "top_k":
        assert wrong(client.post("/predict", params={field: text}, json=asked)) == [["query", field]]


@pytest.mark.parametrize("text", ["5", "0", "1e2", "12.50", "1E+2"])
def test_numbers_as_in_json_are_taken(client: TestClient, text: str) -> None:
    asked = {"user_id": "ann", "product_id": "coffee", "amount": text}
    answer = client.get("/predict", params=asked)
    assert answer.json()["features_used"]["request_amount"] == float(text)


@pytest.mark.parametrize("bad", ["%ff", "a%c3", "%c3%28", "%ed%a0%80", "%c0%af"])
@pytest.mark.parametrize(
    "address",
    [
        "/predict?product_id=coffee&user_id={}",
        "/predict?user_id=ann&product_id=coffee&{}=1",
        "/features/{}",
        "/features/ann?product_id={}",
        "/products/{}/features",
        "/api/v1/features/{}",
        "/models/repeat_purchase/{}",
        "/nothing/{}",
    ],
)
def test_what_is_not_utf8_is_refused_and_not_replaced(client: TestClient, address: str, bad: str) -> None:
    before, _, after = address.partition("{}")
    raw = before.encode() + bad.encode() + after.encode()
    url = httpx.URL("http://testserver").copy_with(raw_path=raw)
    [place, *_], *_ = wrong(client.get(url))
    assert place == ("query" if "?" in before else "path")


def test_text_beyond_ascii_is_taken_where_it_is_encoded(client: TestClient) -> None:
    answer = client.get("/predict?user_id=%C5%BEofie&product_id=%EF%BF%BD")
    assert (answer.json()["user_id"], answer.json()["product_id"]) == ("žofie", "\ufffd")


@pytest.mark.parametrize(
    ("method", "address", "body"),
    [
        ("POST", "/predict/batch?{}", {"rows": [{"user_id": "ann", "product_id": "coffee"}]}),
        ("POST", "/rank?{}", {"user_id": "ann", "products": ["coffee"]}),
        ("POST", "/predict/what-if?{}", {"user_id": "ann", "product_id": "coffee", "features": {}}),
        ("POST", "/predict?{}", {"user_id": "ann", "product_id": "coffee"}),
        ("GET", "/predict?user_id=ann&product_id=coffee&{}", None),
        ("GET", "/features/ann?{}", None),
        ("GET", "/products/coffee/features?{}", None),
        ("GET", "/entities/product/features?key=coffee&{}", None),
        ("GET", "/model/info?{}", None),
        ("GET", "/models?{}", None),
        ("GET", "/quality/live?{}", None),
    ],
)
def test_no_parameter_is_ignored(client: TestClient, method: str, address: str, body: Any) -> None:
    for unknown in ("explane=true", "as_off=2026-03-01T12:00:00Z"):
        found = client.request(method, address.format(unknown), json=body)
        assert wrong(found) == [["query", unknown.partition("=")[0]]]
    for prefix in ("", "/api/v1"):
        assert client.request(method, prefix + address.format("").rstrip("?&"), json=body).status_code == 200


@pytest.mark.parametrize(
    "address", ["/predict?user_id=ann&product_id=coffee&user_id=bob", "/features/ann?as_of=a&as_of=b"]
)
def test_a_parameter_is_given_once(client: TestClient, address: str) -> None:
    assert wrong(client.get(address)) in ([["query", "user_id"]], [["query", "as_of"]])


@pytest.mark.long
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_every_error_is_problem_details(client: TestClient, method: str) -> None:
    """Those of the framework's own routes too."""
    paths = {path.replace("{", "").replace("}", "") for path in client.get("/openapi.json").json()["paths"]}
    more = {
        "/docs",
        "/docs/x",
        "/docs/start.js",
        "/redoc",
        "/openapi.json",
        "/nothing",
        "/predict/",
        "/",
        "//",
        "/health/",
    }
    for path in sorted(paths | more):
        for prefix in ("", "/api/v1"):
            for body in (b"", b"{", b"\xff", b"[" * 100_000):
                headers = {"Content-Type": "application/json"} if body else {}
                answer = client.request(method, prefix + path, content=body, headers=headers, follow_redirects=False)
                assert answer.status_code < 500, (method, path, body[:9])
                if answer.status_code >= 400:
                    assert answer.headers["content-type"] == "application/problem+json", (method, path, body[:9])
                    if method != "HEAD":
                        assert answer.json()["status"] == answer.status_code
                    assert answer.status_code != 405 or answer.headers["allow"]


def test_the_other_prefix_holds_each_route_once(client: TestClient) -> None:
    for path in ("/health", "/docs", "/openapi.json", "/predict?user_id=ann&product_id=coffee", "/models"):
        assert client.get(f"/api/v1{path}").status_code == 200
        assert client.get(f"/api/v1/api/v1{path}").status_code == 404
        assert client.get(f"/api/v1/api/v1/api/v1{path}").status_code == 404


def test_the_page_that_describes_the_api_loads_nothing_from_elsewhere(client: TestClient) -> None:
    for prefix in ("", "/api/v1"):
        page = client.get(f"{prefix}/docs")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
        assert len(loaded) >= 3
        for address in loaded:
            if address != "data:,":
                assert "//" not in address
                assert client.get(f"{prefix}/{address}").status_code == 200
    assert "://" not in page.text
    assert client.get("/redoc").status_code == 404
    assert client.get("/docs/..%2fapp.py").status_code in {404, 422}
