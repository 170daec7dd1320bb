"""Training on synthetic examples with NaN: it learns, repeats itself, and refuses what it must."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from training_examples import FEATURES, SMALL, examples_over

from data.clock import ManualClock
from data.errors import ConfigurationError, TrainingError
from data.units import DAY_US
from model.artifact.metadata import decode_metadata, encode_metadata
from model.artifact.predictor import Predictor
from model.evaluation.report import render_html
from model.evaluation.threshold import ThresholdPolicy
from model.examples.split import Periods
from model.examples.training_set import TrainingSet
from model.targets import REPEAT_PURCHASE
from model.training.train import TrainOptions, train

pytestmark = pytest.mark.integration  # it trains models for seconds


def train_small(examples: TrainingSet, **options: Any) -> Any:
    chosen = TrainOptions(**({"parameters": SMALL} | options))
    clock = ManualClock(1_700_000_000_000_000)
    return train(examples, REPEAT_PURCHASE, feature_plan="plan-1", options=chosen, clock=clock)


@pytest.mark.long
def test_a_forest_learns_and_is_described() -> None:
    heard: list[str] = []
    examples = examples_over(360)
    artifact = train(examples, REPEAT_PURCHASE, feature_plan="plan-1", clock=ManualClock(0), progress=heard.append)
    known = artifact.metadata
    assert known.version.startswith("19700101-000000-")
    test, simple = known.metrics["test"], known.baselines
    assert test.roc_auc > 0.75
    assert test.roc_auc > simple["user_product_purchase_count"].roc_auc > simple["user_repeat_rate"].roc_auc > 0.5
    assert simple["base_rate"].roc_auc == 0.5
    assert simple["user_product_purchase_count"].brier is None
    assert test.rows == known.parts["test"].rows
    assert known.metrics["later"].rows == pytest.approx(test.rows / 2, rel=0.4)
    assert 0 < known.threshold < 1
    assert (known.features, known.feature_plan, known.candidates) == (FEATURES, "plan-1", 9000)
    assert (known.estimator, known.threshold_policy, known.meaning) == ("random_forest", "f1", REPEAT_PURCHASE.meaning)
    assert known.data_hash == examples.hash()
    assert known.parameters["n_estimators"] == 100
    assert known.calibration.slope > 0
    assert known.gap_us == REPEAT_PURCHASE.horizon_us
    assert known.note == ""
    assert {*list(known.importances)[:2]} == {"user_product_purchase_count", "days_since"}
    assert known.importances["never"] == 0
    found = known.evaluation
    assert found is not None
    assert sum(segment.rows for segment in found.segments["activity"].values()) == test.rows
    assert {kind: set(names) for kind, names in found.segments.items() if kind != "activity"} == {
        "user": {"new", "old"},
        "product": {"cheap", "middling", "dear"},
    }
    low, high = found.intervals["model"]["roc_auc"]
    assert low < test.roc_auc < high
    assert found.intervals["base_rate"]["roc_auc"] == (0.5, 0.5)
    assert found.intervals["model over user_repeat_rate"]["roc_auc"][0] > 0
    confusion = found.confusion
    assert confusion.true_positives / (confusion.true_positives + confusion.false_negatives) == test.recall
    assert len(heard) == 6
    assert known.parts["train"].last == known.parts["validation"].last
    assert decode_metadata(encode_metadata(known), "here") == known


@pytest.mark.long
def test_a_model_learns_in_the_mixture_that_is_served() -> None:
    heard: list[str] = []
    examples = replace(examples_over(360, 6_000), served_later=0.9)
    options = TrainOptions(parameters=SMALL)
    artifact = train(
        examples, REPEAT_PURCHASE, feature_plan="plan-1", options=options, clock=ManualClock(0), progress=heard.append
    )
    plain = train_small(replace(examples, served_later=None)).metadata
    known = artifact.metadata
    assert known.served_later == 0.9
    assert plain.served_later is None
    assert known.parts["train"].rows < 0.5 * plain.parts["train"].rows
    assert {name: known.metrics[name].rows for name in ("test", "later")} == {
        name: plain.metrics[name].rows for name in ("test", "later")
    }, "what is judged stays the same"
    assert any("as questions are served: 90% of them later" in line for line in heard)
    few = replace(examples_over(360, 900), served_later=0.9)
    assert (
        train_small(few).metadata.parts["train"].rows
        == train_small(replace(few, served_later=None)).metadata.parts["train"].rows
    )


@pytest.mark.long
def test_each_kind_of_question_has_a_threshold_of_its_own_beside_the_models() -> None:
    examples = examples_over(360, 6_000)
    assert examples.later is not None
    # Later the answer is rarer, and nothing tells it: such questions want another threshold.
    rarer = examples.labels * (~examples.later | (np.arange(6_000) % 5 == 0))
    known = train_small(replace(examples, labels=rarer)).metadata
    assert known.evaluation is not None
    decisions = known.evaluation.decisions
    assert decisions.keys() == {"at once", "later"}
    assert decisions["later"].threshold != decisions["at once"].threshold
    for kind, part in (("at once", "test"), ("later", "later")):
        assert decisions[kind].metrics.roc_auc == known.metrics[part].roc_auc
        assert decisions[kind].metrics.rows == known.metrics[part].rows
    page = render_html(known, {})
    assert "Questions at once and later" in page
    assert f"{decisions['later'].threshold:.3f}" in page
    nobody = train_small(replace(examples, later=None)).metadata
    assert nobody.evaluation is not None
    assert nobody.evaluation.decisions == {}
    assert "Questions at once and later" not in render_html(nobody, {})


@pytest.mark.long
def test_the_threshold_is_chosen_on_validation_and_test_has_no_say() -> None:
    examples = examples_over(360)
    artifact = train_small(examples)
    first_test_us = artifact.metadata.parts["test"].first.timestamp() * 1e6
    other = replace(examples, labels=np.where(examples.times_us >= first_test_us, 1 - examples.labels, examples.labels))
    turned = train_small(other)
    assert turned.metadata.threshold == artifact.metadata.threshold
    assert turned.onnx == artifact.onnx
    assert turned.metadata.metrics["test"].roc_auc < 0.5 < artifact.metadata.metrics["test"].roc_auc


@pytest.mark.long
def test_all_of_the_past_is_learned_from_but_validated_is_what_a_first_fit_did_not_see() -> None:
    """Leaves of one example know by heart what they have seen, and here there is nothing else to know."""
    examples = examples_over(360)
    noise = replace(examples, labels=np.random.default_rng(3).integers(0, 2, len(examples.labels)))
    artifact = train_small(noise, parameters={"n_estimators": 30, "min_samples_leaf": 1, "max_leaf_nodes": None})
    part = artifact.metadata.parts["validation"]
    seen = (noise.times_us >= part.first.timestamp() * 1e6) & (noise.times_us <= part.last.timestamp() * 1e6)
    scores = Predictor(artifact).score(noise.rows[seen])
    assert scores[noise.labels[seen] == 1].min() >= scores[noise.labels[seen] == 0].max()
    assert artifact.metadata.metrics["validation"].roc_auc < 0.65


@pytest.mark.long
def test_a_policy_moves_the_threshold() -> None:
    examples = examples_over(360)
    policies = ("f1", "precision=0.9", "recall=0.99", "cost=0,1,20,0")
    known = [train_small(examples, threshold=ThresholdPolicy.parse(policy)).metadata for policy in policies]
    f1, precise, complete, dear = (found.metrics["validation"] for found in known)
    assert precise.precision >= 0.9 > f1.precision
    assert complete.recall >= 0.99 > f1.recall
    assert dear.recall > f1.recall
    assert len({found.threshold for found in known}) >= 3
    assert len({found.metrics["test"].roc_auc for found in known}) == 1


@pytest.mark.long
def test_groups_that_say_nothing_are_told_apart() -> None:
    groups = dict.fromkeys(FEATURES, "others") | {
        "user_product_purchase_count": "counts",
        "days_since": "times",
        "noise": "noise",
        "never": "never",
    }
    chosen = TrainOptions(parameters=SMALL, left_out=("user.money",))
    found = train(examples_over(360), REPEAT_PURCHASE, feature_plan="plan-1", options=chosen, groups=groups).metadata
    assert set(list(found.groups)[:2]) == {"counts", "times"}
    assert min(*found.groups["counts"], *found.groups["times"]) > 0.1
    assert found.groups["never"] == [0, 0, 0]
    assert abs(sum(found.groups["noise"])) < 0.15
    assert decode_metadata(encode_metadata(found), "").left_out == ("user.money",)


@pytest.mark.long
def test_the_same_seed_gives_the_same_model() -> None:
    examples = examples_over(360)
    one, again, other = (train_small(examples, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.onnx != other.onnx


@pytest.mark.long
def test_a_rare_class_is_learned_and_its_probabilities_are_right() -> None:
    examples = examples_over(360, rows=30_000)
    random = np.random.default_rng(1)
    rare = replace(examples, labels=examples.labels * (random.random(30_000) < 0.08))
    test = train_small(rare, parameters={"n_estimators": 40, "min_samples_leaf": 40}).metadata.metrics["test"]
    assert test.base_rate < 0.06
    assert test.roc_auc > 0.65
    assert test.ece is not None
    assert test.ece < 0.015


def test_what_says_nothing_scores_no_better_than_chance() -> None:
    examples = examples_over(360)
    random = np.random.default_rng(5)
    noise = replace(examples, labels=random.integers(0, 2, len(examples.labels)))
    low, high = train_small(noise).metadata.evaluation.intervals["model"]["roc_auc"]
    assert low <= 0.5 <= high


def test_the_dates_given_are_judged_on() -> None:
    periods = Periods(test_start_us=300 * DAY_US, test_end_us=340 * DAY_US)
    part = train_small(examples_over(360), periods=periods).metadata.parts
    assert (part["test"].first.timestamp() * 1e6) // DAY_US == 300
    assert (part["test"].last.timestamp() * 1e6) // DAY_US == 339
    assert (part["validation"].last.timestamp() * 1e6) // DAY_US == 269
    with pytest.raises(
        TrainingError, match="test has 0 of 3000 examples and needs 50; bring a longer history, or other"
    ):
        train_small(examples_over(360), periods=Periods(None, 300 * DAY_US, 900 * DAY_US, 940 * DAY_US))


def test_a_short_history_trains_with_a_note() -> None:
    heard: list[str] = []
    known = train(
        examples_over(60),
        REPEAT_PURCHASE,
        feature_plan="p",
        options=TrainOptions(parameters=SMALL),
        progress=heard.append,
    ).metadata
    assert known.gap_us < REPEAT_PURCHASE.horizon_us
    assert "shrinks" in known.note
    assert heard[0] == f"note: {known.note}"


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_refused(label: int) -> None:
    examples = examples_over(360)
    with pytest.raises(TrainingError, match=rf"all \d+ examples of train have label {label}"):
        train_small(replace(examples, labels=np.full_like(examples.labels, label)))


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"train has \d+ of 120 examples and needs 200; bring a longer history"):
        train_small(examples_over(360, rows=120))
    with pytest.raises(TrainingError, match=r"needs 200.*shrinks to"):
        train_small(examples_over(40, rows=120))


def test_no_examples_are_refused() -> None:
    examples = examples_over(360)
    none = replace(examples, rows=examples.rows[:0], labels=examples.labels[:0], times_us=examples.times_us[:0])
    with pytest.raises(TrainingError, match="no examples"):
        train_small(none)


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="estimator 'forest' is unknown; there are random_forest, "):
        train_small(examples_over(360), estimator="forest")


def test_a_bad_parameter_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"random_forest: .*branches"):
        train_small(examples_over(360), parameters={"branches": 3})


def test_the_predictor_explains_what_was_trained() -> None:
    predictor = Predictor(train_small(examples_over(360)))
    rows = examples_over(360, seed=1).rows[:50]
    scores, (base, contributions) = predictor.score(rows), predictor.explain(rows)
    np.testing.assert_allclose(np.log(scores / (1 - scores)), base + contributions.sum(axis=1), rtol=0, atol=1e-9)
    assert np.abs(contributions[:, FEATURES.index("never")]).max() == 0
