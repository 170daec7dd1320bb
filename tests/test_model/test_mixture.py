"""Models learn from questions in the mixture that serving sees: at their trigger, or some time after it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from target_log import START_US, TARGETS, Act, log_of

from data.log.event_log import EventLog
from data.units import DAY_US, HOUR_US
from features.batch.engine import DuckDBEngine
from model.examples.mixture import MIN_SERVED, kept_in_mixture, served_later
from model.targets import REPEAT_PURCHASE

NEVER = 50


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    """Two purchases of a pair, and a view of another."""
    return log_of(
        tmp_path,
        [
            Act("purchase", "ann", "tea", 0),
            Act("purchase", "ann", "tea", 20 * DAY_US),
            Act("view", "bob", "tea", DAY_US),
        ],
    )


@pytest.fixture
def engine(log: EventLog) -> Iterator[DuckDBEngine]:
    with DuckDBEngine(log) as engine:
        yield engine


def asked(*questions: tuple[str, int, int]) -> pa.Table:
    """Questions about tea: of whom, when (µs after the start), how many."""
    users = [user for user, _, many in questions for _ in range(many)]
    times = [START_US + at for _, at, many in questions for _ in range(many)]
    moments = pa.array(times, pa.timestamp("us", tz="UTC"))
    return pa.table({"user_id": users, "product_id": ["tea"] * len(users), "as_of": moments})


def test_the_share_counts_from_the_newest_trigger_before_a_question(engine: DuckDBEngine) -> None:
    questions = asked(
        ("ann", 0, 100),  # at the trigger
        ("ann", 7 * HOUR_US, 100),  # before a hundredth of 30 days is over
        ("ann", 8 * HOUR_US, 200),
        ("ann", 20 * DAY_US + HOUR_US, 100),  # the second purchase has come
        ("ann", 90 * DAY_US, 300),
        ("ann", -DAY_US, NEVER),
        ("bob", 5 * DAY_US, NEVER),
    )
    assert served_later(engine, REPEAT_PURCHASE, questions) == 500 / 800


def test_few_questions_and_those_that_nobody_asks_later_say_nothing(engine: DuckDBEngine) -> None:
    few = asked(("ann", 0, MIN_SERVED - 1), ("bob", 5 * DAY_US, 2 * NEVER))
    assert served_later(engine, REPEAT_PURCHASE, few) is None
    assert served_later(engine, REPEAT_PURCHASE, asked()) is None
    cart = next(target for target in TARGETS if not target.asked_later)
    assert served_later(engine, cart, asked(("ann", 0, MIN_SERVED))) is None
    assert served_later(engine, REPEAT_PURCHASE, asked(("ann", 0, MIN_SERVED))) == 0


@pytest.mark.parametrize(("share", "found"), [(0.0, 0.1), (0.2, 0.2), (0.5, 0.5), (0.8, 0.8), (1.0, 0.9)])
def test_a_mixture_keeps_all_of_one_kind_and_a_sample_of_the_other(share: float, found: float) -> None:
    later = np.random.default_rng(0).random(20_000) < 0.4
    kept = kept_in_mixture(later, share, seed=1)
    assert later[kept].mean() == pytest.approx(found, abs=0.01)
    assert kept[later].all() or kept[~later].all()
    assert np.array_equal(kept, kept_in_mixture(later, share, seed=1))


def test_of_one_kind_alone_all_are_kept() -> None:
    for later in (np.zeros(9, np.bool_), np.ones(9, np.bool_)):
        assert kept_in_mixture(later, 0.5, seed=0).all()
