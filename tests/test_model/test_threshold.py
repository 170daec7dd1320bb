"""The chosen threshold against every threshold tried by hand, whatever the policy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.errors import ConfigurationError
from model.evaluation.threshold import ThresholdPolicy


def counts_of(labels: NDArray[np.int64], yes: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """True negatives, false positives, false negatives, true positives."""
    return (
        int((~yes & (labels == 0)).sum()),
        int((yes & (labels == 0)).sum()),
        int((~yes & (labels == 1)).sum()),
        int((yes & (labels == 1)).sum()),
    )


def worth(policy: ThresholdPolicy, labels: NDArray[np.int64], yes: NDArray[np.bool_]) -> float:
    """What the policy wants most of, as written in its description."""
    tn, fp, fn, tp = counts_of(labels, yes)
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    match policy.kind:
        case "f1":
            return 2 * tp / (2 * tp + fp + fn)
        case "precision":
            return 1 + recall if precision >= policy.numbers[0] else precision
        case "recall":
            return precision if recall >= policy.numbers[0] else -1.0
        case _:
            return -sum(cost * count for cost, count in zip(policy.numbers, (tn, fp, fn, tp), strict=True))


@given(
    pairs=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=30),
    text=st.sampled_from(
        ["f1", "precision=0.6", "precision=1", "recall=0.99", "recall=0.5", "cost=0,1,5,0", "cost=-1,2,3,1"]
    ),
)
def test_no_threshold_is_better(pairs: list[tuple[int, int]], text: str) -> None:
    labels = np.array([0, 1] + [label for label, _ in pairs])
    scores = np.array([3, 3] + [score for _, score in pairs]) / 8
    policy = ThresholdPolicy.parse(text)
    threshold = policy.choose(labels, scores)
    worths = {score: worth(policy, labels, scores >= score) for score in np.unique(scores)}
    assert worths[threshold] == pytest.approx(max(worths.values()))


def test_a_policy_is_written_as_it_is_read() -> None:
    for text in ("f1", "precision=0.6", "recall=0.99", "cost=0,1,5,0"):
        assert str(ThresholdPolicy.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["f2", "f1=1", "precision", "precision=0", "recall=1.5", "recall=x", "cost=1,2,3", "cost=1,2,3,inf"]
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no policy; give f1, precision="):
        ThresholdPolicy.parse(text)
