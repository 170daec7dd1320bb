"""What the pages say in words: features, probabilities, verdicts, names, and when live metrics will exist."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from polling import poll_until
from serving import plan

from data.errors import DataError, UnavailableError
from data.units import DAY_US, HOUR_US, span
from server.console.calculators import model_versions
from server.console.calculators.answers import Asking, Parts, likelihood, probability, verdict
from server.console.calculators.scored_pairs import ScoredPair
from server.console.calculators.shop_month import change, worth_of
from server.console.deadline import Deadline
from server.console.feature.use import found_in, use_rows, view_of
from server.console.feature.words import FeatureWords
from server.console.formats import size

pytest.importorskip("streamlit", reason="the extra `console` is not installed")

ASKING = Asking("repeat_purchase", "v1", "blend", "the user buys the product again", 30 * DAY_US, 0.12)


def test_features_have_short_words_that_say_what_they_are_of() -> None:
    words = FeatureWords(plan())
    assert words.title("user_purchases_7d") == "Purchases, last 7 days (user)"
    assert words.title("user_views_1h") == "Views, last hour (user)"
    assert words.title("user_product_days_since_last_purchase") == "Days since the last purchase (user and product)"
    assert words.title("user_return_rate") == "Returns ÷ purchases (user)"
    assert words.title("amount_vs_user_avg") == (
        "Amount of the question ÷ average amount of purchases of the user (question)"
    )
    assert words["user_purchases_7d"].full == "Number of purchases over the last 7d."
    assert words.title("no_such_feature") == "no_such_feature"


def test_every_feature_is_told_apart_from_every_other_by_its_words() -> None:
    compiled = plan()
    words = FeatureWords(compiled)
    titles = [words.title(name) for name in compiled.names]
    assert len(set(titles)) == len(titles)
    assert max(map(len, titles)) < 90


@pytest.mark.parametrize(
    ("score", "base_rate", "words"),
    [
        (0.5, 0.1, "Likely"),
        (0.49, 0.1, "More likely than on average"),
        (0.11, 0.1, "About as likely as on average"),
        (0.02, 0.1, "Less likely than on average"),
        (0.4, None, "Not likely"),
        (0.6, 0.7, "Likely"),
    ],
)
def test_likely_is_what_comes_true_more_often_than_not(score: float, base_rate: float | None, words: str) -> None:
    assert likelihood(score, base_rate) == words


def test_a_verdict_says_horizon_base_rate_and_threshold() -> None:
    answer = {"confidence": 0.34, "threshold": 0.3, "target": "repeat_purchase", "cold_start": False}
    assert verdict(answer, ASKING) == (
        "More likely than on average: within 30 days the user buys the product again: 34.0 %; 12.0 % on average. "
        "It reaches the threshold of 30.0 %."
    )
    assert verdict(answer).startswith("Not likely: repeat purchase: 34.0 %. It reaches")


def test_points_of_probability_add_up_from_the_average_to_the_answer() -> None:
    parts = Parts(base=-2.0, largest={"a": 1.5, "b": -0.5}, rest=0.25, total=-0.75)
    assert list(parts.points) == ["a", "b", "all others"]
    assert sum(parts.points.values()) == pytest.approx(probability(parts.total) - probability(parts.base))
    assert parts.points["b"] < 0 < parts.points["a"]


def test_lengths_and_sizes_have_units() -> None:
    assert [span(30 * DAY_US), span(DAY_US), span(HOUR_US), span(7 * DAY_US)] == [
        "30 days",
        "24 hours",
        "1 hour",
        "7 days",
    ]
    assert [size(None), size(1536), size(5 * 2**30)] == ["–", "1.5 KB", "5.0 GB"]


def test_what_a_model_is_worth_is_more_than_choosing_blindly() -> None:
    def pair(score: float, amount: float, reaches: bool) -> ScoredPair:
        from server.console.calculators.asked_pair import Regular

        return ScoredPair(Regular("u", "p", 2, 0, DAY_US, amount), score, reaches)

    found = worth_of([pair(0.9, 10, True), pair(0.1, 10, False), pair(0.2, 10, False), pair(0.8, 10, True)])
    assert (found.chosen, found.total) == (2, 4)
    assert (found.expected, found.blind, found.more) == pytest.approx((17.0, 10.0, 7.0))
    assert worth_of([]).more == 0
    assert (change(112, 100), change(5, 0)) == ("+12 %", None)


def report(version: str, pr_auc: tuple[float, float] | None, last: str = "2026-02-01T00:00:00Z") -> dict[str, Any]:
    part = {"rows": 10, "base_rate": 0.1, "first": "2026-01-01T00:00:00Z", "last": last}
    intervals = {"model": {"pr_auc": pr_auc}} if pr_auc else {}
    return {"version": version, "parts": {"test": part}, "evaluation": {"intervals": intervals}}


def test_a_verdict_against_the_champion_is_given_where_one_can_be() -> None:
    champion = report("v1", (0.3, 0.4))
    contest = {"champion": "v1", "challenger": "v2", "contest": {"lead": [0.01, 0.05]}}
    for version, retraining, better, words in (
        (report("v1", (0.3, 0.4)), None, None, "It is the champion"),
        (report("v2", (0.45, 0.5)), None, True, "Better: its whole interval"),
        (report("v2", (0.1, 0.2)), None, False, "Worse"),
        (report("v2", (0.35, 0.5)), None, None, "overlap"),
        (report("v2", (0.45, 0.5), "2026-02-02T00:00:00Z"), None, None, "different days"),
        (report("v2", None), None, None, "without intervals"),
        (report("v2", (0.1, 0.2)), contest, True, "+0.010 to +0.050"),
        (report("v2", (0.1, 0.2)), contest | {"champion": "v2", "challenger": "v1"}, False, "-0.050 to -0.010"),
        (report("v2", (0.1, 0.2)), contest | {"champion": "v0"}, False, "Worse"),
    ):
        found, why = model_versions.judged(version, champion, retraining)
        assert (found, words in why) == (better, True), why
    assert model_versions.judged(champion, None, None)[0] is None


def test_who_uses_a_feature() -> None:
    compiled = plan()
    entity, feature = found_in(compiled, "user_purchases_7d") or ("", None)
    assert (entity, feature and feature.name) == ("user", "user_purchases_7d")
    assert found_in(compiled, "hour_of_day") is not None
    assert found_in(compiled, "none") is None
    assert view_of(compiled, "user") != view_of(compiled, "request")
    of = {"target": "repeat_purchase", "version": "v1", "estimator": "blend", "features": ["a", "b"]}
    rows = use_rows(
        "b", [("champion", {**of, "importances": {"a": 0.2, "b": 0.1}}), ("challenger", {**of, "features": ["a"]})]
    )
    assert [(row["is"], row["place"]) for row in rows] == [("champion", "2 of 2")]


def test_names_are_read_from_a_file_and_stay_text(tmp_path: Path) -> None:
    from server.console.names import read_names

    file = tmp_path / "user_id.csv"
    assert read_names(file) == {}
    file.write_text("id,name\nu1,<b>Ann</b>\nu2\n", encoding="utf-8")
    assert read_names(file) == {"u1": "<b>Ann</b>"}
    file.write_bytes(b"id,name\nu1,\xff\n")
    with pytest.raises(DataError, match="two columns, id and name"):
        read_names(file)


def test_a_call_that_hangs_is_not_waited_for_and_the_next_is_refused_at_once() -> None:
    import threading

    let_go = threading.Event()
    in_time = Deadline("it hangs; look at it", 0.4)
    assert in_time(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        in_time(lambda: 1 / 0)
    with pytest.raises(UnavailableError, match="it hangs"):
        in_time(let_go.wait)
    for _ in range(1_000):  # if each of them waited, for longer than a test may take
        with pytest.raises(UnavailableError, match="it hangs"):
            in_time(lambda: 8)
    let_go.set()

    def answer() -> int:
        with suppress(UnavailableError):
            return in_time(lambda: 9)
        return 0

    assert poll_until(answer) == 9


def test_days_of_a_feature_are_gaps_where_nobody_asked() -> None:
    import pyarrow as pa

    from server.console.calculators.quality_reports import metrics_from
    from server.console.feature.past import feature_days

    now = datetime(2026, 3, 3, 12, tzinfo=UTC)

    class Archive:
        def read(self, columns: list[str], *, target: str, since: datetime | None = None) -> pa.Table:
            times = [now - timedelta(days=2, minutes=minute) for minute in range(60)]
            table = pa.table(
                {
                    "as_of": times,
                    "features": [f'{{"x": {"null" if place % 4 == 0 else place}}}' for place in range(60)],
                    "model": ["v1"] * 60,
                    "shadow_model": pa.array([None] * 60, pa.string()),
                }
            )
            return table.select(columns)

    archive: Any = Archive()
    first, second, third = feature_days(archive, "repeat_purchase", "x", now=now, days=3)
    assert (first.rows, first.missing) == (60, 0.25)
    assert first.low is not None
    assert first.low < (first.median or 0) < (first.high or 0)
    assert [(day.rows, day.missing, day.median) for day in (second, third)] == [(0, None, None)] * 2
    kept, at = metrics_from(archive, "repeat_purchase", "v1", 30 * DAY_US)
    # The fiftieth was asked eleven minutes after the first of sixty, a minute apart.
    assert (kept, at) == (60, now - timedelta(days=2, minutes=10) + timedelta(days=30))
    assert metrics_from(archive, "repeat_purchase", "v2", 30 * DAY_US) == (0, None)
