"""The spine against a naive reading of the definition, and the join of features to it."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError, ModelError
from data.event import EVENT_COLUMNS
from data.event_log import EventLog
from model.targets import REPEAT_PURCHASE, Target
from model.training_set import build_spine, build_training_set

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01
HORIZON_US = REPEAT_PURCHASE.horizon_us
CART_TO_PURCHASE = Target("cart_to_purchase", "add_to_cart", "purchase", 2 * DAY_US, "cart_to_purchase")


class Act(NamedTuple):
    kind: str
    user: str
    product: str
    at: int
    amount: float = 1.0


def table(acts: Sequence[Act], *, first: int | None = None) -> pa.Table:
    """Acts as events; with the offsets that a Kafka partition would give them when `first` is given."""
    found = pa.table(
        {
            "event_id": [f"e{number}" for number in range(len(acts))],
            "event_type": [act.kind for act in acts],
            "user_id": [act.user for act in acts],
            "product_id": [act.product for act in acts],
            "amount": [act.amount for act in acts],
            "quantity": [1] * len(acts),
            "timestamp": pa.array([START_US + act.at for act in acts], pa.timestamp("us", tz="UTC")),
            "session_id": pa.nulls(len(acts), pa.string()),
            "category": pa.nulls(len(acts), pa.string()),
            "metadata": pa.nulls(len(acts), pa.string()),
        }
    ).cast(EVENT_COLUMNS)
    if first is not None:
        found = found.append_column("offset", pa.array(range(first, first + len(acts)), pa.int64()))
    return found


def log_of(folder: Path, acts: Sequence[Act]) -> EventLog:
    log = EventLog(folder / "events")
    log.write_history("shop", [table(acts)])
    return log


def naive_spine(acts: Sequence[Act], target: Target) -> list[tuple[str, str, int, float, int]]:
    newest = max(act.at for act in acts)
    amounts: dict[tuple[int, str, str], float] = {}
    for act in acts:
        if act.kind == target.trigger and act.at + target.horizon_us <= newest:
            key = (act.at, act.user, act.product)
            amounts[key] = amounts.get(key, 0.0) + act.amount
    return [
        (
            user,
            product,
            START_US + at,
            amounts[at, user, product],
            int(
                any(
                    act.kind == target.label
                    and (act.user, act.product) == (user, product)
                    and at < act.at <= at + target.horizon_us
                    for act in acts
                )
            ),
        )
        for at, user, product in sorted(amounts)
    ]


def as_tuples(spine: Any) -> list[tuple[str, str, int, float, int]]:
    times = spine["event_timestamp"].astype("int64")
    columns = ["user_id", "product_id", "request_amount", "label"]
    return [
        (user, product, time, amount, label)
        for (user, product, amount, label), time in zip(
            spine[columns].itertuples(index=False, name=None), times, strict=True
        )
    ]


# Times at which ties and the edges of a horizon happen often: whole horizons apart, and one microsecond around.
moments = st.builds(
    lambda horizons, days, micros: max(0, horizons * HORIZON_US + days * DAY_US + micros),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from([-1, 0, 0, 0, 1]),
)
acts_lists = st.lists(
    st.builds(
        Act,
        st.sampled_from(["purchase", "purchase", "add_to_cart", "view"]),
        st.sampled_from(["u1", "u2"]),
        st.sampled_from(["p1", "p2"]),
        moments,
        st.sampled_from([0.0, 0.25, 3.5]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(acts=acts_lists, target=st.sampled_from([REPEAT_PURCHASE, CART_TO_PURCHASE]))
def test_spine_is_what_the_definition_says(acts: list[Act], target: Target) -> None:
    expected = naive_spine(acts, target)
    with TemporaryDirectory() as folder:
        log = log_of(Path(folder), acts)
        if not expected:
            with pytest.raises(ModelError, match="followed by"):
                build_spine(log, target)
            return
        spine = build_spine(log, target)
    assert as_tuples(spine) == expected


def test_the_edges_of_a_horizon(tmp_path: Path) -> None:
    """
    day  0          30         60+1µs     90+1µs
         │          │          │           │
         A──yes────▶A──no─────▶·A·········▶view (the newest event)
                       30d+1µs  its horizon ends exactly here: seen, no
    """
    third = 2 * HORIZON_US + 1
    acts = [Act("purchase", "u", "p", at) for at in (0, HORIZON_US, third)] + [
        Act("view", "v", "q", third + HORIZON_US)
    ]
    assert [row[4] for row in as_tuples(build_spine(log_of(tmp_path, acts), REPEAT_PURCHASE))] == [1, 0, 0]


def test_a_horizon_one_microsecond_short_is_no_example_even_when_the_answer_is_known(tmp_path: Path) -> None:
    acts = [
        Act("purchase", "u", "p", 0),
        Act("purchase", "u", "p", 5),
        Act("purchase", "w", "p", 6),
        Act("view", "v", "q", HORIZON_US + 5),
    ]
    spine = build_spine(log_of(tmp_path, acts), REPEAT_PURCHASE)
    assert [(row[0], row[2] - START_US) for row in as_tuples(spine)] == [("u", 0), ("u", 5)]


def test_columns_and_types(tmp_path: Path) -> None:
    acts = [Act("purchase", "u", "p", 7, 0.1), Act("purchase", "u", "p", 7, 0.2), Act("view", "u", "p", HORIZON_US * 2)]
    spine = build_spine(log_of(tmp_path, acts), REPEAT_PURCHASE)
    assert list(spine.columns) == ["user_id", "product_id", "event_timestamp", "request_amount", "label"]
    assert str(spine["event_timestamp"].dtype) == "datetime64[us, UTC]"
    assert spine["event_timestamp"][0] == pd.Timestamp("2026-01-01 00:00:00.000007", tz="UTC")
    assert spine["request_amount"].tolist() == [0.3]
    assert spine["label"].tolist() == [0]


def test_offsets_in_two_files_are_read_once(tmp_path: Path) -> None:
    acts = [Act("purchase", f"u{number}", "p", number, 1.0) for number in range(10)]
    log = EventLog(tmp_path / "events")
    log.append("kafka-a", 0, table(acts[:6], first=0))
    log.append("kafka-a", 0, table(acts[4:], first=4))
    log.append("kafka-b", 1, table([Act("view", "u", "p", 2 * HORIZON_US)], first=0))
    assert [file.after for file in log.files()] == [-1, 5, -1]
    spine = build_spine(log, REPEAT_PURCHASE)
    assert spine["user_id"].tolist() == [f"u{number}" for number in range(10)]
    assert spine["request_amount"].tolist() == [1.0] * 10


def test_a_sample_depends_on_the_seed_alone_and_knows_what_it_was_drawn_from(tmp_path: Path) -> None:
    acts = [Act("purchase", f"u{number}", "p", number) for number in range(200)]
    log = log_of(tmp_path, [*acts, Act("view", "u", "p", 2 * HORIZON_US)])
    one, again, other = (build_spine(log, REPEAT_PURCHASE, max_rows=20, seed=seed) for seed in (1, 1, 2))
    assert len(one) == 20
    assert one.attrs["candidates"] == 200
    assert one["event_timestamp"].is_monotonic_increasing
    pd.testing.assert_frame_equal(one, again)
    assert set(one["user_id"]) != set(other["user_id"])


def test_an_empty_log_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make history"):
        build_spine(EventLog(tmp_path), REPEAT_PURCHASE)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    log = log_of(tmp_path, [Act("purchase", "u", "p", 0)])
    log.files()[0].path.write_bytes(b"not Parquet")
    with pytest.raises(DataError, match=r"0000-.*\.parquet"):
        build_spine(log, REPEAT_PURCHASE)


@pytest.fixture
def spine(tmp_path: Path) -> Any:
    acts = [Act("purchase", user, "p", at, float(at)) for user in ("u1", "u2") for at in (3, 1, 2)]
    return build_spine(log_of(tmp_path, [*acts, Act("view", "u", "p", 2 * HORIZON_US)]), REPEAT_PURCHASE)


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
    np.testing.assert_array_equal(found.rows[:, 2], np.float32([np.nan, 0.1] * 3))
    assert found.labels.tolist() == [1, 1, 1, 1, 0, 0]
    assert (found.times_us - START_US).tolist() == [1, 1, 2, 2, 3, 3]
    assert found.candidates == 6


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
