"""Training on synthetic examples with NaN: it learns, exports exactly, repeats itself and refuses what it must."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from data.clock import ManualClock
from data.errors import ModelError
from model.metadata import decode_metadata, encode_metadata
from model.onnx_export import export_onnx
from model.predictor import Scorer
from model.targets import REPEAT_PURCHASE
from model.training import train
from model.training_set import TrainingSet

DAY_US = 86_400_000_000
FEATURES = ("user_product_purchase_count", "days_since", "never", "noise")


def examples_over(days: int, rows: int = 3000, seed: int = 0) -> TrainingSet:
    """A label that a count, and whether a time is missing, both tell something of."""
    random = np.random.default_rng(seed)
    count = random.integers(0, 6, rows).astype(np.float32)
    since = random.lognormal(size=rows).astype(np.float32)
    since[random.random(rows) < 0.3] = np.nan
    noise = random.normal(size=rows).astype(np.float32)
    noise[random.random(rows) < 0.1] = np.nan
    signal = 0.6 * count + 1.5 * np.isnan(since) - 0.3 * np.nan_to_num(since) + random.normal(size=rows)
    return TrainingSet(
        features=FEATURES,
        rows=np.column_stack([count, since, np.full(rows, np.nan, np.float32), noise]),
        labels=(signal > 2).astype(np.int64),
        times_us=np.sort(random.integers(0, days * DAY_US, rows)),
        candidates=rows,
    )


def small_forest(seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators=15, min_samples_leaf=10, class_weight="balanced", random_state=seed)


def train_small(examples: TrainingSet, **options: Any) -> Any:
    settings = {"feature_plan": "plan-1", "make_estimator": small_forest, "clock": ManualClock(1_700_000_000_000_000)}
    return train(examples, REPEAT_PURCHASE, **(settings | options))


def test_a_forest_learns_and_is_described() -> None:
    heard: list[str] = []
    examples = replace(examples_over(180), candidates=9000)
    artifact = train(examples, REPEAT_PURCHASE, feature_plan="plan-1", clock=ManualClock(0), progress=heard.append)
    known = artifact.metadata
    assert known.version.startswith("19700101-000000-")
    assert known.metrics["test"].roc_auc > 0.75
    assert known.metrics["test"].roc_auc > known.baselines["user_product_purchase_count"].roc_auc
    assert known.baselines["base_rate"].roc_auc == 0.5
    assert known.baselines["user_product_purchase_count"].brier is None
    assert 0 < known.threshold < 1
    assert (known.features, known.feature_plan, known.candidates) == (FEATURES, "plan-1", 9000)
    assert known.estimator == "RandomForestClassifier"
    assert known.parameters["class_weight"] == "balanced"
    assert known.gap_us == REPEAT_PURCHASE.horizon_us
    assert known.note == ""
    assert list(known.importances)[-1] == "never"
    assert sum(known.importances.values()) == pytest.approx(1)
    assert sum(part.rows for part in known.parts.values()) < known.examples
    assert len(heard) == 3
    assert decode_metadata(encode_metadata(known), "here") == known


def test_the_threshold_is_the_best_on_validation_and_test_has_no_say() -> None:
    examples = examples_over(180)
    artifact = train_small(examples)
    first_test_us = artifact.metadata.parts["test"].first.timestamp() * 1e6
    other = replace(examples, labels=np.where(examples.times_us >= first_test_us, 1 - examples.labels, examples.labels))
    turned = train_small(other)
    assert turned.metadata.threshold == artifact.metadata.threshold
    assert turned.onnx == artifact.onnx
    assert turned.metadata.metrics["test"].roc_auc < 0.5 < artifact.metadata.metrics["test"].roc_auc


def test_the_same_seed_gives_the_same_model() -> None:
    examples = examples_over(180)
    one, again, other = (train_small(examples, seed=seed) for seed in (1, 1, 2))
    assert (one.onnx, one.metadata) == (again.onnx, again.metadata)
    assert one.onnx != other.onnx


def test_onnx_agrees_on_nan_and_at_every_split() -> None:
    """Each threshold as float32 and its two neighbours: a split that rounds the wrong way shows here."""
    examples = examples_over(180)
    forest = small_forest(0).fit(examples.rows, examples.labels)
    trees = [estimator.tree_ for estimator in forest.estimators_]
    edges = np.unique(np.concatenate([tree.threshold[tree.feature == 1] for tree in trees]).astype(np.float32))
    edges = edges[np.isfinite(edges)]
    values = np.concatenate(
        [edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf)), np.float32([np.nan])]
    )
    rows = np.concatenate(
        [np.column_stack([np.full_like(values, count), values, values, values]) for count in (0, 3, np.nan)]
    )
    scores = Scorer(export_onnx(forest, rows), len(FEATURES)).score(rows)
    np.testing.assert_allclose(scores, forest.predict_proba(rows)[:, 1], rtol=0, atol=1e-6)
    assert any((tree.missing_go_to_left[tree.children_left >= 0] == 1).any() for tree in trees)


def test_an_export_that_differs_is_refused() -> None:
    """A lone tree has its NaN routes in itself, not in `estimators_`: the converter loses them, the check sees it."""
    examples = examples_over(180)
    tree = DecisionTreeClassifier(max_depth=4, random_state=0).fit(examples.rows, examples.labels)
    assert (tree.tree_.missing_go_to_left[tree.tree_.children_left >= 0] == 1).any()
    with pytest.raises(ModelError, match=r"differs from scikit-learn by up to .* in \d+ of 3000 rows"):
        export_onnx(tree, examples.rows)


def test_other_classifiers_export_too() -> None:
    rows = np.nan_to_num(examples_over(180).rows)
    model = LogisticRegression().fit(rows, examples_over(180).labels)
    scores = Scorer(export_onnx(model, rows), len(FEATURES)).score(rows)
    np.testing.assert_allclose(scores, model.predict_proba(rows)[:, 1], rtol=0, atol=1e-5)


def test_a_short_history_trains_with_a_note() -> None:
    heard: list[str] = []
    artifact = train_small(examples_over(60), progress=heard.append)
    assert artifact.metadata.gap_us < REPEAT_PURCHASE.horizon_us
    assert "shrinks" in artifact.metadata.note
    assert heard[0] == f"note: {artifact.metadata.note}"


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_refused(label: int) -> None:
    examples = examples_over(180)
    with pytest.raises(ModelError, match=rf"all \d+ examples of train have label {label}"):
        train_small(replace(examples, labels=np.full_like(examples.labels, label)))


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(ModelError, match=r"train has \d+ of 120 examples and needs 200; bring a longer history$"):
        train_small(examples_over(180, rows=120))
    with pytest.raises(ModelError, match=r"needs 200.*shrinks to"):
        train_small(examples_over(40, rows=120))


def test_no_examples_are_refused() -> None:
    examples = examples_over(180)
    none = replace(examples, rows=examples.rows[:0], labels=examples.labels[:0], times_us=examples.times_us[:0])
    with pytest.raises(ModelError, match="no examples"):
        train_small(none)
