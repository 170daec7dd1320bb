"""Features join their example, whatever a store returns; what cannot be joined is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.errors import ModelError
from model.examples.training_set import build_training_set

START_US = 1_767_225_600_000_000  # 2026-01-01


@pytest.fixture
def spine() -> Any:
    """Two users buy `p` at microseconds 3, 1 and 2, for as much; the last purchase of each is not repeated."""
    found = pd.DataFrame(
        [
            (user, "p", START_US + at, float(at), "tea" if user == "u1" else None, at == 2, int(at < 3))
            for user in ("u1", "u2")
            for at in (3, 1, 2)
        ],
        columns=["user_id", "product_id", "event_timestamp", "request_amount", "segment", "later", "label"],
    )
    found["event_timestamp"] = found["event_timestamp"].astype("datetime64[us]").dt.tz_localize("UTC")
    return found


def features_of(frame: Any) -> Any:
    """A store that answers as Feast does: rows shuffled, nanoseconds, a null where nothing happened."""
    count = frame["request_amount"].astype("int64") * 10 + (frame["user_id"] == "u2")
    answer = frame.assign(
        event_timestamp=frame["event_timestamp"].astype("datetime64[ns, UTC]"),
        count=count,
        days=pd.Series([None if user == "u1" else 0.1 for user in frame["user_id"]], dtype="object"),
    )
    return answer.sample(frac=1, random_state=5)


def test_features_join_their_example_whatever_the_order(spine: Any) -> None:
    found = build_training_set(spine, features_of)
    assert found.features == ("request_amount", "count", "days")
    assert found.rows.dtype == np.float32
    assert found.rows[:, 1].tolist() == [10, 11, 20, 21, 30, 31]
    np.testing.assert_array_equal(found.rows[:, 2], np.array([np.nan, 0.1] * 3, np.float32))
    assert found.labels.tolist() == [1, 1, 1, 1, 0, 0]
    assert (found.times_us - START_US).tolist() == [1, 1, 2, 2, 3, 3]
    assert found.candidates == 6
    assert found.users is not None
    assert found.users.tolist() == [0, 1] * 3
    assert found.later is not None
    assert found.later.tolist() == [False, False, True, True, False, False]
    assert found.categories is not None
    assert found.categories.tolist() == ["tea", "none"] * 3


def test_chosen_features_keep_the_order_asked_for(spine: Any) -> None:
    found = build_training_set(spine, features_of, features=["days", "request_amount"])
    assert found.features == ("days", "request_amount")
    assert found.rows[:, 1].tolist() == [1, 1, 2, 2, 3, 3]


def test_the_store_never_sees_a_label(spine: Any) -> None:
    seen: list[str] = []

    def retrieve(frame: Any) -> Any:
        seen.extend(frame.columns)
        return features_of(frame)

    build_training_set(spine, retrieve)
    assert seen == ["user_id", "product_id", "event_timestamp", "request_amount"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frame: frame.iloc[1:], "1 have no features"),
        (lambda frame: pd.concat([frame, frame.iloc[:1]]), "1 came back more than once"),
        (lambda frame: frame.assign(count="many"), "count is not a number"),
        (lambda frame: frame.assign(count=1e300), "count is infinite"),
        (lambda frame: frame.drop(columns="event_timestamp"), "lack event_timestamp"),
    ],
)
def test_what_cannot_be_joined_is_refused(spine: Any, spoil: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_training_set(spine, lambda frame: spoil(features_of(frame)))


def test_a_hash_tells_any_change(spine: Any) -> None:
    found = build_training_set(spine, features_of)
    assert found.hash() == build_training_set(spine, features_of).hash()
    others = [
        replace(found, labels=1 - found.labels),
        replace(found, times_us=found.times_us + 1),
        replace(found, rows=found.rows * 2),
        replace(found, features=("request_amount", "days", "count")),
    ]
    assert len({found.hash(), *(other.hash() for other in others)}) == 5


def test_no_category_at_all_is_none(spine: Any) -> None:
    assert build_training_set(spine.assign(segment=None), features_of).categories is None
