"""A confusion matrix and its profit at a threshold, against counting.

scores   0.1 0.1 0.3 0.3 0.5 0.7 0.9     bins of 0.2
buys      n   n   n   y   n   y   y
"""

import pytest

from server.console.calculators.confusion import Confusion, Payoffs, Scores, best_threshold, scores_of

SCORES = Scores([0.1, 0.3, 0.5, 0.7, 0.9], [0, 1 / 3, 0, 1 / 3, 1 / 3], [2 / 4, 1 / 4, 1 / 4, 0, 0], 3, 4)


def test_thresholds_are_where_bins_begin() -> None:
    assert SCORES.edges == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.0, (3, 4, 0, 0)), (0.2, (3, 2, 0, 2)), (0.6, (2, 0, 1, 4)), (0.8, (1, 0, 2, 4))]
)
def test_counts(threshold: float, expected: tuple[int, ...]) -> None:
    assert SCORES.at(threshold) == pytest.approx(expected)


def test_precision_and_recall_of_nothing_are_nothing() -> None:
    assert SCORES.at(0.6).precision == pytest.approx(1.0)
    assert SCORES.at(0.6).recall == pytest.approx(2 / 3)
    assert Confusion(0, 0, 3, 4).precision is None
    assert Confusion(0, 4, 0, 4).recall is None


def test_profit_and_its_best_threshold() -> None:
    payoffs = Payoffs(5.0, -2.0, 0.0, 0.0)
    assert SCORES.at(0.2).profit(payoffs) == pytest.approx(3 * 5 - 2 * 2)
    assert best_threshold(SCORES, payoffs) == pytest.approx(0.2)
    assert best_threshold(SCORES, Payoffs(1.0, -100.0, 0.0, 0.0)) == pytest.approx(0.6)


def test_scores_come_from_a_report_that_has_them() -> None:
    report = {
        "metrics": {"test": {"rows": 7, "base_rate": 3 / 7}},
        "evaluation": {
            "curves": {
                "scores_yes": {"x": SCORES.middles, "y": SCORES.yes},
                "scores_no": {"x": SCORES.middles, "y": SCORES.no},
            }
        },
    }
    found = scores_of(report)
    assert found is not None
    assert found.at(0.2) == pytest.approx((3, 2, 0, 2))
    assert scores_of({"metrics": {"test": {"roc_auc": 0.7}}}) is None
    assert scores_of({"metrics": {"test": {"rows": 1, "base_rate": 0.5}}, "evaluation": None}) is None
