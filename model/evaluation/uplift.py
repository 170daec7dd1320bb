"""The measured effect of an intervention: carts that received it at random, compared with carts that did not.

Per risk level, the effect is the difference of both arms' shares, which is the mean of the transformed outcome
y · (t/e - (1-t)/(1-e)) with the level's own treated share e (Athey & Imbens, 2016). Rankings of whom to treat are
evaluated by Qini curves (Radcliffe, 2007): the order that the table of rules implies, and a two-model estimate, whose
models score only users from whom they did not learn.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from model.estimators.base import Estimator
from model.interventions import InterventionRule
from model.metrics import Curve, Interval
from model.uplift import LevelUplift, Qini, Uplift

__all__ = ["MIN_ARM", "Trial", "measure_uplift", "qini"]

MIN_ARM = 50
"""Fewest rows of each arm at a risk level; with fewer, shares are noise."""

_RESAMPLES = 500
_POINTS = 100

Labels = NDArray[np.int64]
Fit = Callable[[NDArray[np.float32], Labels], Estimator]


class Trial(NamedTuple):
    """Rows of an A/B log, each column of shape [n].

    `treated` and `bought` are 0 or 1, `risk` is the probability of abandonment before the intervention, `users` a
    number per user. `features`, shape [n, features], are what the two models learn from.
    """

    treated: Labels
    bought: Labels
    risk: NDArray[np.float64]
    users: Labels
    features: NDArray[np.float32]


def measure_uplift(
    trial: Trial, rules: tuple[InterventionRule, ...], fit: Fit, *, intervention: str = "", seed: int = 0
) -> Uplift:
    """Measure the effect of an `intervention`; without a name, of the intervention in each level's rule.

    `fit` returns a model of features and labels. Raises DataError if an arm has fewer than `MIN_ARM` rows.
    """
    arms = len(trial.treated) - int(trial.treated.sum()), int(trial.treated.sum())
    if min(arms) < MIN_ARM:
        raise DataError(
            f"the A/B log has {arms[0]:,} rows of the control and {arms[1]:,} treated; each needs at least {MIN_ARM}"
        )
    random = np.random.default_rng(seed)
    starts = [rule.from_probability for rule in rules]
    place = np.searchsorted(starts, trial.risk, side="right") - 1
    assumed = np.array([rule.rescued for rule in rules])[place] * trial.risk
    orders = {"table": assumed, "two models": _two_models(trial, fit, random)}
    all_rows, *by_level = _Counts.of(trial, [place >= 0, *(place == number for number in range(len(rules)))], random)
    effect = float(_uplifts(all_rows.whole[None])[0])
    return Uplift(
        rows=len(place),
        treated_share=float(trial.treated.mean()),
        uplift=effect,
        uplift_interval=_interval(effect, _uplifts(all_rows.drawn)),
        levels=tuple(_level(rule, intervention, counts) for rule, counts in zip(rules, by_level, strict=True)),
        qini={name: qini(order, trial.treated, trial.bought) for name, order in orders.items()},
    )


def qini(order: NDArray[np.float64], treated: Labels, bought: Labels) -> Qini:
    """Return the Qini curve of treating rows by descending `order`; rows of equal order are treated together.

    Its value at a share of the rows: the treated rows' purchases minus the control's, scaled to as many rows.
    """
    falling = np.argsort(-order, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(order[falling])), len(order) - 1)
    t, y = treated[falling], bought[falling]
    treated_rows, control_rows = np.cumsum(t)[ends], np.cumsum(1 - t)[ends]
    treated_bought, control_bought = np.cumsum(t * y)[ends], np.cumsum((1 - t) * y)[ends]
    scaled = control_bought * treated_rows / np.maximum(control_rows, 1)
    x = np.concatenate([[0.0], (ends + 1) / len(order)])
    gained = np.concatenate([[0.0], (treated_bought - scaled) / max(1, int(treated.sum()))])
    area = float(np.sum(np.diff(x) * (gained[1:] + gained[:-1]) / 2))
    shares = np.linspace(0, 1, _POINTS + 1)
    curve = Curve(x=shares.tolist(), y=np.interp(shares, x, gained).tolist())
    return Qini(curve, area - float(gained[-1]) / 2)


def _level(rule: InterventionRule, intervention: str, counts: "_Counts") -> LevelUplift:
    level = LevelUplift(
        risk_level=rule.risk_level,
        intervention=intervention or rule.intervention,
        assumed=rule.rescued if intervention in {"", rule.intervention} else None,
        control=int(counts.whole[0]),
        treated=int(counts.whole[1]),
    )
    if min(level.treated, level.control) < MIN_ARM:
        return level
    control, treated = (float(share) for share in counts.whole[2:] / counts.whole[:2])
    return msgspec.structs.replace(
        level,
        bought_control=control,
        bought_treated=treated,
        uplift=treated - control,
        uplift_interval=_interval(treated - control, _uplifts(counts.drawn)),
        rescued=None if control == 1 else (treated - control) / (1 - control),
        rescued_interval=None
        if control == 1
        else _interval((treated - control) / (1 - control), _rescued(counts.drawn)),
    )


class _Counts(NamedTuple):
    """Numbers of rows of control and treated, and of purchases of both.

    `whole` has shape [4], and `drawn`, of resamples, shape [n, 4].
    """

    whole: NDArray[np.float64]
    drawn: NDArray[np.float64]

    @classmethod
    def of(cls, trial: Trial, groups: list[NDArray[np.bool_]], random: np.random.Generator) -> "list[_Counts]":
        """Count each group of rows. Users are drawn with replacement, with all of their rows."""
        treated, bought = trial.treated, trial.bought
        indicators = np.column_stack([1 - treated, treated, (1 - treated) * bought, treated * bought])
        users = int(trial.users.max()) + 1
        by_user = np.zeros((users, len(groups), 4))
        for place, group in enumerate(groups):
            np.add.at(by_user[:, place], trial.users[group], indicators[group])
        whole, flat = by_user.sum(axis=0), by_user.reshape(users, -1)
        times = (np.bincount(random.integers(0, users, users), minlength=users) for _ in range(_RESAMPLES))
        drawn = np.array([counts @ flat for counts in times]).reshape(_RESAMPLES, len(groups), 4)
        return [cls(whole[place], drawn[:, place]) for place in range(len(groups))]


def _uplifts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the difference of both arms' shares, from counts of shape [n, 4]; NaN if an arm has no rows."""
    with np.errstate(invalid="ignore"):
        return np.asarray(counts[:, 3] / counts[:, 1] - counts[:, 2] / counts[:, 0])


def _rescued(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the uplift relative to the control's share of lost carts; NaN if it lost none."""
    lost = counts[:, 0] - counts[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lost > 0, _uplifts(counts) * counts[:, 0] / lost, np.nan)


def _two_models(trial: Trial, fit: Fit, random: np.random.Generator) -> NDArray[np.float64]:
    """Return the estimated uplift of each row, by models that learned from the other half of the users."""
    half = random.permutation(int(trial.users.max()) + 1)[trial.users] % 2
    estimates = np.zeros(len(half))
    for other in (0, 1):
        scored_rows = half == other
        for arm, sign in ((1, 1.0), (0, -1.0)):
            learned = ~scored_rows & (trial.treated == arm)
            bought = trial.bought[learned]
            if not 0 < bought.sum() < len(bought):  # one class only: its share, since no model can be fitted
                estimates[scored_rows] += sign * float(bought.mean()) if len(bought) else 0.0
            else:
                estimates[scored_rows] += sign * fit(trial.features[learned], bought).score(trial.features[scored_rows])
    return estimates


def _interval(point: float, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return min(float(low), point), max(float(high), point)
