"""The threshold against every threshold tried by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.evaluation import best_f1_threshold, evaluate


def f1_of(labels: NDArray[np.int64], yes: NDArray[np.bool_]) -> float:
    right = int((labels * yes).sum())
    return 2 * right / (int(labels.sum()) + int(yes.sum()))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=30))
def test_no_threshold_has_a_better_f1(pairs: list[tuple[int, int]]) -> None:
    labels = np.array([0, 1] + [label for label, _ in pairs])
    scores = np.array([3, 3] + [score for _, score in pairs]) / 8
    threshold = best_f1_threshold(labels, scores)
    best = max(f1_of(labels, scores >= score) for score in scores)
    assert f1_of(labels, scores >= threshold) == pytest.approx(best)
    assert evaluate(labels, scores, threshold).f1 == pytest.approx(best)


def test_metrics_by_hand() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.5, 0.9])
    metrics = evaluate(labels, scores, 0.5)
    assert metrics.precision == pytest.approx(2 / 3)
    assert metrics.recall == 1
    assert metrics.f1 == pytest.approx(0.8)
    assert metrics.roc_auc == pytest.approx(3 / 4)
    assert metrics.pr_auc == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.brier == pytest.approx((0.01 + 0.36 + 0.25 + 0.01) / 4)
    assert evaluate(labels, scores * 7, 3.5, probabilities=False).brier is None
