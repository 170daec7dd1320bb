"""Metrics by hand, and against a slow reading of their definitions."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model.evaluation.evaluation import (
    bootstrap,
    calibration_error,
    confusion_at,
    curves_of,
    evaluate,
    lift_by_decile,
    segments_of,
)
from model.evaluation.ranking import Ranked, roc_auc


def drawn(rows: int = 4000, seed: int = 0, tilt: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and labels drawn by them; a tilt above 1 makes the scores too sure."""
    random = np.random.default_rng(seed)
    odds = random.normal(-1.5, 1.2, rows)
    return (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64), 1 / (1 + np.exp(-tilt * odds))


def test_metrics_by_hand() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.5, 0.9])
    metrics = evaluate(labels, scores, 0.5)
    assert (metrics.rows, metrics.base_rate) == (4, 0.5)
    assert metrics.precision == pytest.approx(2 / 3)
    assert metrics.recall == 1
    assert metrics.f1 == pytest.approx(0.8)
    assert metrics.roc_auc == pytest.approx(3 / 4)
    assert metrics.pr_auc == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.brier == pytest.approx((0.01 + 0.36 + 0.25 + 0.01) / 4)
    assert metrics.log_loss == pytest.approx(-np.log([0.9, 0.4, 0.5, 0.9]).mean())
    assert metrics.ece == pytest.approx((0.1 + 0.6 + 0.5 + 0.1) / 4)
    assert metrics.precision_at_5pct == 1
    counts = evaluate(labels, scores * 7, 3.5, probabilities=False)
    assert (counts.brier, counts.ece, counts.log_loss) == (None, None, None)


@pytest.mark.parametrize("digits", [0, 1, 2, 15])  # with few, nearly all scores are ties
def test_the_area_under_the_curve_is_scikit_learns(digits: int) -> None:
    labels, scores = drawn(rows=500, seed=digits)
    for found in (scores.round(digits), -scores.round(digits), scores.astype(np.float32)):
        assert roc_auc(labels, found) == pytest.approx(roc_auc_score(labels, found), rel=1e-12)
    infinite = np.where(scores < 0.1, -np.inf, scores)
    assert roc_auc(labels, infinite) == pytest.approx(roc_auc_score(labels, np.nan_to_num(infinite, neginf=-9)))
    assert np.isnan(roc_auc(labels * 0, scores))


def test_calibration_error_tells_good_from_too_sure() -> None:
    labels, scores = drawn()
    assert calibration_error(labels, scores) < 0.02
    labels, scores = drawn(tilt=3)
    assert calibration_error(labels, scores) > 0.08


def test_lift_falls_from_the_first_tenth_to_the_last_and_averages_one() -> None:
    lift = lift_by_decile(*drawn())
    assert len(lift) == 10
    assert np.mean(lift) == pytest.approx(1)
    assert lift[0] > 2 > 1 > lift[-1]


def test_confusion_counts_everything_once() -> None:
    labels, scores = drawn()
    found = confusion_at(labels, scores, 0.3)
    assert found.true_positives == ((scores >= 0.3) & (labels == 1)).sum()
    assert found.false_positives == ((scores >= 0.3) & (labels == 0)).sum()
    total = found.true_negatives + found.false_positives + found.false_negatives + found.true_positives
    assert total == len(labels)


def test_ties_at_the_top_count_as_their_mean() -> None:
    labels = np.array([1] + [0] * 99)
    assert evaluate(labels, np.full(100, 0.5), 0.5).precision_at_5pct == pytest.approx(0.01)


def test_segments_too_small_to_judge_say_only_how_many() -> None:
    labels, scores = drawn(1000)
    names = np.where(np.arange(1000) < 20, "few", "many")
    found = segments_of(labels, scores, 0.3, names)
    assert (found["few"].rows, found["few"].metrics) == (20, None)
    assert found["many"].metrics == evaluate(labels[20:], scores[20:], 0.3)


def test_intervals_hold_the_value_and_widen_when_users_have_many_examples() -> None:
    labels, scores = drawn(1500)
    options: Any = {"resamples": 60, "seed": 1, "versus": "model"}
    found = bootstrap(labels, {"model": scores, "other": -scores}, np.arange(1500), **options)
    assert set(found) == {"model", "other", "model over other"}
    alone = found["model"]
    assert found["model over other"]["roc_auc"][0] > 0.4
    low, high = alone["roc_auc"]
    assert low < evaluate(labels, scores, 0.3).roc_auc < high
    assert set(alone) == {"roc_auc", "pr_auc", "ece"}
    # The same examples ten times over are no new knowledge as long as they are known to be one user's.
    ten = [np.tile(values, 10) for values in (labels, scores)]
    owners = np.tile(np.arange(1500), 10)
    copied = bootstrap(ten[0], {"model": ten[1]}, owners, **options)["model"]["roc_auc"]
    fooled = bootstrap(ten[0], {"model": ten[1]}, np.arange(15000), **options)["model"]["roc_auc"]
    assert copied == pytest.approx((low, high))
    assert fooled[1] - fooled[0] < 0.6 * (high - low)


@pytest.mark.parametrize("seed", range(8))
def test_every_interval_holds_its_point(seed: int) -> None:
    """A resample draws some users twice, and looks worse calibrated than the sample: that is no place for the point."""
    random = np.random.default_rng(seed)
    labels, scores = drawn(400)
    users = random.integers(0, 60, 400)
    named = {"model": scores, "noise": random.random(400), "constant": np.full(400, 0.1), "perfect": labels * 1.0}
    found = bootstrap(labels, named, users, resamples=60, seed=seed, versus="model")
    points = {
        name: {"roc_auc": one.roc_auc, "pr_auc": one.pr_auc}
        for name, score in named.items()
        for one in [evaluate(labels, score, 0.5)]
    }
    points |= {
        f"model over {name}": {metric: points["model"][metric] - value for metric, value in points[name].items()}
        for name in named
        if name != "model"
    }
    points["model"]["ece"] = calibration_error(labels, scores)
    assert points.keys() == found.keys()
    for name, metrics in points.items():
        assert metrics.keys() == found[name].keys()
        for metric, point in metrics.items():
            low, high = found[name][metric]
            assert low - 1e-9 <= point <= high + 1e-9, (name, metric)
            assert (-1 if " over " in name else 0) <= low <= high <= 1


def test_curves_are_short_and_end_where_they_must() -> None:
    curves = curves_of(*drawn())
    assert set(curves) == {"roc", "pr", "calibration", "scores_no", "scores_yes"}
    assert all(len(curve.x) == len(curve.y) <= 200 for curve in curves.values())
    roc = curves["roc"]
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert sum(curves["scores_yes"].y) == pytest.approx(1)


def test_resampled_areas_are_scikit_learns() -> None:
    """The sample itself, each example drawn once or twice, is a resample: ties, weights and all."""
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 300), random.integers(0, 40, 300) / 40
    times = random.integers(0, 4, 300)
    found = Ranked.of(labels, scores).resampled(times)
    own = np.repeat(np.arange(300), times)
    metrics = evaluate(labels[own], scores[own], 0.5)
    assert found == pytest.approx({"roc_auc": metrics.roc_auc, "pr_auc": metrics.pr_auc})
