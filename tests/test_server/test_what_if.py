"""Hypothetical scores over a real store: the same as a prediction where nothing is supposed, another one elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from serving import NOON, TestClient, fold_events, make_app, make_home, plan, promote, tiny_model

from data.clock import ManualClock
from features.state.online.states import OnlineStates
from server.process.store import Store

ASKED = {"user_id": "ann", "product_id": "coffee", "amount": 22.0}


@pytest.fixture
def client(tmp_path: Path, store: Store, redis_client: "Redis[bytes]") -> Iterator[TestClient]:
    home = make_home(tmp_path / "home")
    promote(home, tiny_model(plan().names))
    fold_events(OnlineStates(redis_client))
    with TestClient(make_app(home, store.host, store.port, ManualClock(NOON))) as client:
        yield client


def ask(client: TestClient, **features: float | None) -> dict[str, Any]:
    answer = client.post("/predict/what-if", json=ASKED | {"features": features})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_supposing_nothing_is_predicting(client: TestClient) -> None:
    supposed, predicted = ask(client), client.post("/predict", json=ASKED).json()
    assert supposed["hypothetical"] is True
    assert supposed["actual_confidence"] == supposed["confidence"] == predicted["confidence"]
    shared = ("features_used", "timestamp", "threshold", "model_version", "prediction")
    assert {name: supposed[name] for name in shared} == {name: predicted[name] for name in shared}


def test_features_are_set_and_those_of_the_request_follow(client: TestClient) -> None:
    supposed = ask(client, user_avg_transaction_amount=44.0, user_purchase_count=None)
    used = supposed["features_used"]
    assert (used["user_avg_transaction_amount"], used["user_purchase_count"]) == (44.0, None)
    assert used["amount_vs_user_avg"] == 0.5
    other = ask(client, **dict.fromkeys(plan().names[:40], -50.0))
    assert other["confidence"] < other["actual_confidence"] == supposed["actual_confidence"]
    assert supposed["prediction"] is (supposed["confidence"] >= supposed["threshold"])
    assert (
        ask(client, user_avg_transaction_amount=44.0, amount_vs_user_avg=3.0)["features_used"]["amount_vs_user_avg"]
        == 3
    )


def test_nothing_is_counted(client: TestClient) -> None:
    ask(client, user_purchase_count=100)
    health = client.get("/health").json()
    assert (health["predictions"], health["last_prediction"]) == (0, None)


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ({"no_such_feature": 1}, "no feature has this name"),
        ({"user_purchase_count": "many"}, "valid number"),
        ({"user_purchase_count": True}, "valid number"),
        ([], "dictionary"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(client: TestClient, features: Any, told: str) -> None:
    answer = client.post("/predict/what-if", json=ASKED | {"features": features})
    assert answer.status_code == 422
    [found] = answer.json()["errors"]
    assert told in found["msg"]
    assert found["loc"][:2] == ["body", "features"]


def test_a_number_that_json_cannot_say_is_refused(client: TestClient) -> None:
    body = '{"user_id": "a", "product_id": "b", "features": {"user_purchase_count": NaN}}'
    assert (
        client.post("/predict/what-if", content=body, headers={"Content-Type": "application/json"}).status_code == 422
    )
