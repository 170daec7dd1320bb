"""What an intervention does, measured: carts that were given it at random beside carts that were not.

Per risk level the effect is the difference of both arms' shares, which is the mean of the transformed outcome
y · (t/e - (1-t)/(1-e)) where the share e treated is the level's own (Athey & Imbens, 2016). Whom to treat is judged by
Qini curves (Radcliffe, 2007): of the order that the table of rules implies, and of a two-model estimate, whose models
answer only about users whom they did not learn from.
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
"""Fewest rows of each arm at a risk level; of fewer a share says nothing."""

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
    """Measure what an `intervention` did; without a name, that of each level's rule.

    `fit` makes a model of features and labels.

    Raises DataError where an arm has fewer than `MIN_ARM` rows.
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
    every, *by_level = _Counts.of(trial, [place >= 0, *(place == number for number in range(len(rules)))], random)
    effect = float(_uplifts(every.whole[None])[0])
    return Uplift(
        rows=len(place),
        treated_share=float(trial.treated.mean()),
        uplift=effect,
        uplift_interval=_interval(effect, _uplifts(every.drawn)),
        levels=tuple(_level(rule, intervention, counts) for rule, counts in zip(rules, by_level, strict=True)),
        qini={name: qini(order, trial.treated, trial.bought) for name, order in orders.items()},
    )


def qini(order: NDArray[np.float64], treated: Labels, bought: Labels) -> Qini:
    """Return the Qini curve of treating rows by descending `order`; rows of one order are treated together.

    At each share of the rows: purchases of the treated among them, less those of their control, scaled to as many.
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
    found = LevelUplift(
        risk_level=rule.risk_level,
        intervention=intervention or rule.intervention,
        assumed=rule.rescued if intervention in {"", rule.intervention} else None,
        control=int(counts.whole[0]),
        treated=int(counts.whole[1]),
    )
    if min(found.treated, found.control) < MIN_ARM:
        return found
    control, treated = (float(share) for share in counts.whole[2:] / counts.whole[:2])
    return msgspec.structs.replace(
        found,
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
    """Rows of control and treated, and purchases of both: `whole`, shape [4], and `drawn` resamples, shape [n, 4]."""

    whole: NDArray[np.float64]
    drawn: NDArray[np.float64]

    @classmethod
    def of(cls, trial: Trial, groups: list[NDArray[np.bool_]], random: np.random.Generator) -> "list[_Counts]":
        """Count each group of rows. Users are drawn with replacement, with all of their rows."""
        treated, bought = trial.treated, trial.bought
        each = np.column_stack([1 - treated, treated, (1 - treated) * bought, treated * bought])
        users = int(trial.users.max()) + 1
        by_user = np.zeros((users, len(groups), 4))
        for place, group in enumerate(groups):
            np.add.at(by_user[:, place], trial.users[group], each[group])
        whole, flat = by_user.sum(axis=0), by_user.reshape(users, -1)
        times = (np.bincount(random.integers(0, users, users), minlength=users) for _ in range(_RESAMPLES))
        drawn = np.array([counts @ flat for counts in times]).reshape(_RESAMPLES, len(groups), 4)
        return [cls(whole[place], drawn[:, place]) for place in range(len(groups))]


def _uplifts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the difference of both arms' shares, of counts of shape [n, 4]; NaN without rows of an arm."""
    with np.errstate(invalid="ignore"):
        return np.asarray(counts[:, 3] / counts[:, 1] - counts[:, 2] / counts[:, 0])


def _rescued(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of what the control lost that was bought more; NaN where it lost nothing."""
    lost = counts[:, 0] - counts[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lost > 0, _uplifts(counts) * counts[:, 0] / lost, np.nan)


def _two_models(trial: Trial, fit: Fit, random: np.random.Generator) -> NDArray[np.float64]:
    """Return the estimated uplift of each row: of either half of the users by models of the other half."""
    half = random.permutation(int(trial.users.max()) + 1)[trial.users] % 2
    found = np.zeros(len(half))
    for other in (0, 1):
        asked = half == other
        for arm, sign in ((1, 1.0), (0, -1.0)):
            learned = ~asked & (trial.treated == arm)
            bought = trial.bought[learned]
            if not 0 < bought.sum() < len(bought):  # no model, but a share
                found[asked] += sign * float(bought.mean()) if len(bought) else 0.0
            else:
                found[asked] += sign * fit(trial.features[learned], bought).score(trial.features[asked])
    return found


def _interval(point: float, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return min(float(low), point), max(float(high), point)
