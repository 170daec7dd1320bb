"""A challenger is better only where its lead is more than chance: its whole interval lies above 0."""

from dataclasses import replace

import numpy as np
import pytest

from data.errors import ModelError, TrainingError
from data.units import DAY_US
from model.artifact.predictor import Predictor
from model.evaluation.contest import hold_contest
from model.examples.split import Periods
from model.examples.training_set import TrainingSet
from model.targets import REPEAT_PURCHASE
from model.training.train import TrainOptions, train

pytestmark = pytest.mark.integration  # it trains models


@pytest.fixture(scope="module")
def examples() -> TrainingSet:
    """One signal, seen clearly, a little less clearly, and hardly."""
    random, rows = np.random.default_rng(2), 2_000
    signal = random.normal(size=rows)
    columns = [signal + size * random.normal(size=rows) for size in (0.5, 0.55, 3)]
    return TrainingSet(
        features=("clear", "almost", "hardly"),
        rows=np.column_stack(columns).astype(np.float32),
        labels=(signal + random.normal(size=rows) > 1).astype(np.int64),
        times_us=np.sort(random.integers(0, 300 * DAY_US, rows)),
        candidates=rows,
        users=random.integers(0, 100, rows),
    )


@pytest.fixture(scope="module")
def models(examples: TrainingSet) -> dict[str, Predictor]:
    """One that sees each feature alone."""
    options = TrainOptions(estimator="logistic_regression")
    return {
        name: Predictor(
            train(
                replace(examples, features=(name,), rows=examples.rows[:, [place]]),
                REPEAT_PURCHASE,
                feature_plan="p",
                options=options,
            )
        )
        for place, name in enumerate(examples.features)
    }


def test_who_sees_more_is_better(examples: TrainingSet, models: dict[str, Predictor]) -> None:
    won = hold_contest(examples, REPEAT_PURCHASE, models["hardly"], models["clear"])
    assert won.better
    assert 0 < won.lead[0] < won.challenger.pr_auc - won.champion.pr_auc < won.lead[1]
    lost = hold_contest(examples, REPEAT_PURCHASE, models["clear"], models["hardly"])
    assert not lost.better
    assert lost.lead == pytest.approx((-won.lead[1], -won.lead[0]))


def test_a_lead_that_may_be_chance_is_none(examples: TrainingSet, models: dict[str, Predictor]) -> None:
    close = hold_contest(examples, REPEAT_PURCHASE, models["almost"], models["clear"])
    assert close.challenger.pr_auc > close.champion.pr_auc
    assert close.lead[0] < 0 < close.lead[1]
    assert not close.better


def test_nobody_is_judged_on_days_that_it_learned_from(examples: TrainingSet, models: dict[str, Predictor]) -> None:
    """The champion's own test began late: it learned from days that are the challenger's test."""
    usual = hold_contest(examples, REPEAT_PURCHASE, models["almost"], models["clear"])
    late_us = 275 * DAY_US
    own = replace(examples, features=("almost",), rows=examples.rows[:, [1]])
    options = TrainOptions(estimator="logistic_regression", periods=Periods(test_start_us=late_us))
    champion = Predictor(train(own, REPEAT_PURCHASE, feature_plan="p", options=options))
    found = hold_contest(examples, REPEAT_PURCHASE, champion, models["clear"])
    fair = int((examples.times_us > late_us).sum())
    assert fair - 1 <= found.champion.rows == found.challenger.rows <= fair + 1
    assert fair < usual.champion.rows - 50

    known = examples.times_us < late_us + DAY_US
    before = replace(
        examples,
        rows=examples.rows[known],
        labels=examples.labels[known],
        times_us=examples.times_us[known],
        users=examples.users[known] if examples.users is not None else None,
    )
    with pytest.raises(TrainingError, match=f"newer than what {champion.version} learned from"):
        hold_contest(before, REPEAT_PURCHASE, champion, models["clear"])


def test_a_champion_of_other_features_is_named(examples: TrainingSet, models: dict[str, Predictor]) -> None:
    others = replace(examples, features=("clear", "almost", "new"))
    with pytest.raises(ModelError, match="needs hardly, which the present definitions do not have"):
        hold_contest(others, REPEAT_PURCHASE, models["hardly"], models["clear"])
