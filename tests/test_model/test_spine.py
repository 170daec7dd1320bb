"""The spine against a naive reading of the definition: which questions are asked, when, and what their answers are."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from target_log import START_US, TARGETS, Act, keys_of, log_of, naive_label, spine_of, table
from thorough import examples

from data.errors import DataError, TrainingError
from data.log.event_log import EventLog
from data.units import DAY_US
from model.targets import PURCHASE_INTENT, REPEAT_PURCHASE, Target

HORIZON_US = 30 * DAY_US


def naive_triggers(acts: Sequence[Act], target: Target) -> dict[tuple[int, str, str], float]:
    newest = max(act.at for act in acts)
    amounts: dict[tuple[int, str, str], float] = {}
    for act in acts:
        if act.kind in target.trigger and act.at + target.horizon_us <= newest:
            key = (act.at, act.user, act.product)
            amounts[key] = amounts.get(key, 0.0) + act.amount
    return amounts


def as_tuples(spine: Any) -> list[tuple[str, str, int, float, int]]:
    times = spine["event_timestamp"].astype("int64")
    columns = ["user_id", "product_id", "request_amount", "label"]
    return [
        (user, product, time, amount, label)
        for (user, product, amount, label), time in zip(
            spine[columns].itertuples(index=False, name=None), times, strict=True
        )
    ]


def at_triggers(spine: Any) -> list[tuple[str, str, int, float, int]]:
    return as_tuples(spine[~spine["later"]])


# Times at which ties and the edges of horizons and sessions happen often.
moments = st.builds(
    lambda months, days, minutes, micros: max(0, months * HORIZON_US + days * DAY_US + minutes * 60_000_000 + micros),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from([0, 0, 30, 31]),
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


@pytest.mark.long
@pytest.mark.integration  # it takes seconds, as each example writes a log
@examples(60)
@given(acts=acts_lists, target=st.sampled_from(TARGETS), seed=st.integers(0, 3))
def test_spine_is_what_the_definition_says(acts: list[Act], target: Target, seed: int) -> None:
    asked = naive_triggers(acts, target)
    with TemporaryDirectory() as folder:
        log = log_of(Path(folder), acts)
        if not asked:
            with pytest.raises(TrainingError, match="followed by"):
                spine_of(log, target)
            return
        spine = spine_of(log, target, seed=seed)
    found = at_triggers(spine)
    possible = [
        (user, product, START_US + at, amount, naive_label(acts, target, user, product, at))
        for (at, user, product), amount in sorted(asked.items())
    ]
    if target.entity == "user":  # of the lines of a basket one asks
        assert [(user, at) for user, _, at, *_ in found] == list(dict.fromkeys((row[0], row[2]) for row in possible))
        assert set(found) <= set(possible)
    else:
        assert found == possible
    assert target.asked_later or not spine["later"].any()
    newest = max(act.at for act in acts)
    touching = {*target.trigger, target.label}
    for user, product, time, amount, label in as_tuples(spine[spine["later"]]):
        at, keys = time - START_US, keys_of(target, user, product)
        assert at + target.horizon_us <= newest
        before = max(
            act.at
            for act in acts
            if act.kind in touching and keys_of(target, act.user, act.product) == keys and act.at <= at
        )
        assert (before, user, product) in asked  # it is a trigger's own, with nothing of the kind in between
        assert 0.01 <= (at - before) / target.horizon_us <= 2.01
        assert pd.isna(amount) or amount == asked[before, user, product]
        assert label == naive_label(acts, target, user, product, at)
    assert not spine.duplicated(["user_id", "product_id", "event_timestamp"]).any()


def test_later_moments_are_drawn_over_two_horizons_and_half_of_them_name_the_amount(tmp_path: Path) -> None:
    acts = [Act("purchase", f"u{number}", "p", number) for number in range(2000)]
    spine = spine_of(log_of(tmp_path, [*acts, Act("view", "u", "p", 4 * HORIZON_US)]), REPEAT_PURCHASE)
    later = spine[spine["later"]]
    assert len(later) == 2000
    assert later["request_amount"].isna().mean() == pytest.approx(0.5, abs=0.05)
    waited = (later["event_timestamp"].astype("int64") - START_US) / HORIZON_US
    assert waited.median() == pytest.approx(0.01 * 200**0.5, rel=0.15)
    assert waited.max() > 1.8


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
    assert [row[4] for row in at_triggers(spine_of(log_of(tmp_path, acts), REPEAT_PURCHASE))] == [1, 0, 0]


def test_a_horizon_one_microsecond_short_is_no_example_even_when_the_answer_is_known(tmp_path: Path) -> None:
    acts = [
        Act("purchase", "u", "p", 0),
        Act("purchase", "u", "p", 5),
        Act("purchase", "w", "p", 6),
        Act("view", "v", "q", HORIZON_US + 5),
    ]
    spine = spine_of(log_of(tmp_path, acts), REPEAT_PURCHASE)
    assert [(row[0], row[2] - START_US) for row in at_triggers(spine)] == [("u", 0), ("u", 5)]


def test_a_session_ends_after_thirty_idle_minutes(tmp_path: Path) -> None:
    """
    minute 0      30          61        62            100
           view   view  cut   view      purchase      view of another
           no: what is bought is bought in the session after next; yes from the second on
    """
    minute = 60_000_000
    intent = Target("next", ("view",), "purchase", DAY_US, "buys", rule="follows_in_next_session", entity="user")
    acts = [Act("view", "u", "p", at * minute) for at in (0, 30, 61)] + [Act("purchase", "u", "p", 62 * minute)]
    spine = spine_of(log_of(tmp_path, [*acts, Act("view", "w", "p", 3 * DAY_US)]), intent)
    assert [row[4] for row in at_triggers(spine)] == [1, 1, 0]


def test_columns_and_types(tmp_path: Path) -> None:
    acts = [Act("purchase", "u", "p", 7, 0.1), Act("purchase", "u", "p", 7, 0.2), Act("view", "u", "p", HORIZON_US + 9)]
    spine = spine_of(log_of(tmp_path, acts), REPEAT_PURCHASE)
    assert list(spine.columns) == [
        "user_id",
        "product_id",
        "event_timestamp",
        "request_amount",
        "segment",
        "later",
        "label",
    ]
    assert str(spine["event_timestamp"].dtype) == "datetime64[us, UTC]"
    assert spine["event_timestamp"][0] == pd.Timestamp("2026-01-01 00:00:00.000007", tz="UTC")
    assert spine["request_amount"].tolist() == [0.3]
    assert spine["segment"].tolist() == ["kind-p"]
    assert (spine["later"].tolist(), spine["label"].tolist()) == ([False], [0])


def test_offsets_in_two_files_are_read_once(tmp_path: Path) -> None:
    acts = [Act("purchase", f"u{number}", "p", number, 1.0) for number in range(10)]
    log = EventLog(tmp_path / "events")
    log.append("kafka-a", 0, range(6), table(acts[:6], first=0))
    log.append("kafka-a", 0, range(4, 10), table(acts[4:], first=4))
    log.append("kafka-b", 1, range(1), table([Act("view", "u", "p", HORIZON_US + 10)], first=0))
    assert [file.start for file in log.files()] == [0, 6, 0]
    spine = spine_of(log, REPEAT_PURCHASE)
    assert spine["user_id"].tolist() == [f"u{number}" for number in range(10)]
    assert spine["request_amount"].tolist() == [1.0] * 10


def test_only_questions_between_the_dates_are_asked(tmp_path: Path) -> None:
    acts = [Act("purchase", "u", f"p{day}", day * DAY_US) for day in range(10)]
    log = log_of(tmp_path, [*acts, Act("view", "u", "p", 4 * HORIZON_US)])
    dates: dict[str, Any] = {"start_us": START_US + 3 * DAY_US, "end_us": START_US + 5 * DAY_US}
    assert {row[1] for row in at_triggers(spine_of(log, REPEAT_PURCHASE, **dates))} == {"p3", "p4"}
    with pytest.raises(TrainingError, match="between the dates given"):
        spine_of(log, REPEAT_PURCHASE, start_us=START_US + 100 * DAY_US)


def test_a_sample_depends_on_the_seed_alone_and_knows_what_it_was_drawn_from(tmp_path: Path) -> None:
    acts = [Act("purchase", f"u{number}", "p", number) for number in range(200)]
    log = log_of(tmp_path, [*acts, Act("view", "u", "p", 4 * HORIZON_US)])
    one, again, other = (spine_of(log, REPEAT_PURCHASE, max_rows=20, seed=seed) for seed in (1, 1, 2))
    assert len(one) == 20
    assert one.attrs["candidates"] == 400
    assert one["event_timestamp"].is_monotonic_increasing
    pd.testing.assert_frame_equal(one, again)
    assert set(one["user_id"]) != set(other["user_id"])


def test_an_empty_log_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make history"):
        spine_of(EventLog(tmp_path), REPEAT_PURCHASE)


def test_a_horizon_longer_than_the_data_is_refused(tmp_path: Path) -> None:
    log = log_of(tmp_path, [Act("view", "u", "p", 0), Act("view", "u", "p", DAY_US - 1)])
    with pytest.raises(TrainingError, match=r"followed by 1 days of events; .* ask about a shorter horizon"):
        spine_of(log, PURCHASE_INTENT)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    log = log_of(tmp_path, [Act("purchase", "u", "p", 0)])
    log.files()[0].path.write_bytes(b"not Parquet")
    with pytest.raises(DataError, match=r"0000-.*\.parquet"):
        spine_of(log, REPEAT_PURCHASE)
