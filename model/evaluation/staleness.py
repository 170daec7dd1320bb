"""The value of freshness: a model's metrics as its input features age."""

import io
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.errors import TrainingError
from data.units import DAY_US, HOUR_US, MICROS, MINUTE_US
from model.evaluation.evaluation import bootstrap, evaluate
from model.evaluation.plots import axes_of
from model.metrics import Interval, Metrics

__all__ = ["Aged", "Staleness", "age_words", "draw_staleness", "judge_ages"]

RESAMPLES = 200


class Aged(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics with features `age_us` older than the question, and 95 % intervals of ROC AUC and PR AUC.

    `lost` are the intervals of their decrease relative to the youngest features, within each resample.
    """

    age_us: int
    metrics: Metrics
    intervals: dict[str, Interval]
    lost: dict[str, Interval]


class Staleness(msgspec.Struct, frozen=True, kw_only=True):
    """A model's metrics by the age of its features, youngest first, on the same questions."""

    target: str
    model: str
    questions: int
    ages: list[Aged]


def judge_ages(
    labels: NDArray[np.int64],
    scores: Mapping[int, NDArray[np.float64]],
    users: NDArray[np.int64],
    *,
    threshold: float,
    seed: int,
) -> list[Aged]:
    """Return the metrics of scores by the age of their features, µs, against labels, shape [n].

    Intervals are from resampled users, as in a model's evaluation. Raises TrainingError if all labels are the same.
    """
    if not 0 < labels.sum() < len(labels):
        raise TrainingError(f"{len(labels):,} questions have one answer: there is nothing to rank; give more of them")
    youngest, *_ = ages = sorted(scores)
    names = {age: str(age) for age in ages}
    intervals = bootstrap(
        labels,
        {names[age]: scores[age] for age in ages},
        users,
        resamples=RESAMPLES,
        seed=seed,
        versus=names[youngest],
    )
    return [
        Aged(
            age_us=age,
            metrics=evaluate(labels, scores[age], threshold),
            intervals={name: intervals[names[age]][name] for name in ("roc_auc", "pr_auc")},
            lost=intervals.get(f"{names[youngest]} over {names[age]}", {}),
        )
        for age in ages
    ]


def draw_staleness(staleness: Staleness) -> bytes:
    """Return a PNG image of ROC AUC and PR AUC by age, with their intervals."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - it takes a second

    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    places = range(len(staleness.ages))
    for place, (name, title) in enumerate((("roc_auc", "ROC AUC"), ("pr_auc", "PR AUC")), 1):
        axes = axes_of(figure, f"{title} of {staleness.target}", "age of the features", "", place=(1, 2, place))
        values = np.array([getattr(age.metrics, name) for age in staleness.ages])
        bounds = np.array([age.intervals[name] for age in staleness.ages])
        axes.errorbar(places, values, [values - bounds[:, 0], bounds[:, 1] - values], fmt="o-", capsize=3)
        axes.set_xticks(places, [age_words(age.age_us) for age in staleness.ages])
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()


_UNITS: Sequence[tuple[str, int]] = (("d", DAY_US), ("h", HOUR_US), ("m", MINUTE_US), ("s", MICROS))


def age_words(age_us: int) -> str:
    """Return an age, µs, in the form that the command accepts, such as `24h`."""
    return next(
        (f"{age_us // unit}{name}" for name, unit in _UNITS if age_us and age_us % unit == 0), f"{age_us // MICROS}s"
    )
