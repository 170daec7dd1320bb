"""The stability index: nothing where nothing changed, little by chance, much where a feature moved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.units import DAY_US
from model.evaluation.drift import DRIFTED, compared, drifted, psi, reference_of
from model.metrics import Histogram

RANDOM = np.random.default_rng(7)


def rows(count: int, *, shift: float = 0.0, missing: float = 0.1) -> np.ndarray:
    values = RANDOM.normal((shift, 0.0), size=(count, 2))
    values[:, 1] = np.floor(np.abs(values[:, 1]))  # a count: mostly 0
    values[RANDOM.random(values.shape) < missing] = np.nan
    return values.astype(np.float32)


REFERENCE = reference_of(("spend", "count"), rows(20_000))


def test_bins_are_tenths_and_one_for_missing() -> None:
    spend, count = REFERENCE["spend"], REFERENCE["count"]
    assert len(spend.edges) == 9
    assert len(spend.shares) == 11
    assert spend.shares[:-1] == pytest.approx([0.09] * 10, abs=0.003)
    assert spend.shares[-1] == pytest.approx(0.1, abs=0.01)
    assert count.edges == (0.0, 1.0)
    assert sum(count.shares) == pytest.approx(1.0, abs=1e-5)


def test_the_formula_by_hand() -> None:
    reference = Histogram((0.0,), (0.5, 0.5, 0.0))
    values = np.array([0] * 750 + [1] * 250, np.float32)
    expected = 0.25 * np.log(1.5) + -0.25 * np.log(0.5)
    assert psi(reference, values) == pytest.approx(expected, abs=0.001)


def test_chance_is_no_drift_and_a_shift_is() -> None:
    same = compared(REFERENCE, ("spend", "count"), rows(1_000), DAY_US)
    assert max(same.values()) < 0.05
    moved = compared(REFERENCE, ("spend", "count"), rows(1_000, shift=0.7), DAY_US)
    assert list(moved) == ["spend", "count"]
    assert moved["spend"] > DRIFTED > 0.05 > moved["count"]
    assert compared(REFERENCE, ("spend",), rows(1_000, missing=0.5)[:, :1], DAY_US)["spend"] > DRIFTED


def test_what_grows_by_itself_has_not_drifted_unless_it_leaps() -> None:
    random = np.random.default_rng(11)
    grows = np.arange(4_000)[:, None] / 1_000 + 3 * random.normal(size=(4_000, 1))
    reference = reference_of(("age",), grows.astype(np.float32))
    for now, expected in ((4.7, []), (12.0, ["age"])):
        recent = (now + 3 * random.normal(size=(1_000, 1))).astype(np.float32)
        index = compared(reference, ("age",), recent, DAY_US)
        assert index["age"] > DRIFTED
        assert drifted(reference, index) == expected


def test_a_feature_of_the_clock_counts_once_its_period_is_seen() -> None:
    hours = np.arange(2_400, dtype=np.float32)[:, None] % 24
    reference = reference_of(("hour_of_day",), hours)
    noon = np.full((1_000, 1), 12, np.float32)
    assert compared(reference, ("hour_of_day",), noon, DAY_US // 24) == {}
    assert compared(reference, ("hour_of_day",), noon, DAY_US)["hour_of_day"] > DRIFTED


@given(st.lists(st.floats(width=32, allow_infinity=False), max_size=50), st.lists(st.floats(width=32), max_size=50))
def test_any_values_have_a_finite_index(known: list[float], recent: list[float]) -> None:
    reference = reference_of(("x",), np.array(known, np.float32)[:, None])
    assert sum(reference["x"].shares) == pytest.approx(1.0 if known else 0.0, abs=1e-4)
    assert np.isfinite(psi(reference["x"], np.array(recent, np.float32)))
    assert psi(reference["x"], np.array(known, np.float32)) == pytest.approx(0.0, abs=0.01)
