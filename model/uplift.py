"""Measured effects of interventions from an A/B log, as data that is stored, served and merged into the rules."""

from datetime import datetime

import msgspec

from model.interventions import InterventionRule
from model.metrics import Curve, Interval

__all__ = ["LevelUplift", "Qini", "Uplift", "UpliftReport", "with_measured"]


class LevelUplift(msgspec.Struct, frozen=True, kw_only=True):
    """An intervention at a risk level: the share that its rule `assumed` to be rescued, and the measurements.

    `bought_control` and `bought_treated` are shares, `uplift` is their difference; `rescued` is the rescued share of
    carts that would be lost. Intervals are of 95 %, by resampled users. All are null without enough rows in each arm.
    """

    risk_level: str
    intervention: str
    assumed: float | None
    control: int
    treated: int
    bought_control: float | None = None
    bought_treated: float | None = None
    uplift: float | None = None
    uplift_interval: Interval | None = None
    rescued: float | None = None
    rescued_interval: Interval | None = None


class Qini(msgspec.Struct, frozen=True):
    """Extra purchases per treated row by the share of rows treated first, and the area above random treatment."""

    curve: Curve
    coefficient: float


class Uplift(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a trial: over all rows, by risk level, and Qini curves by the order of treatment."""

    rows: int
    treated_share: float
    uplift: float
    uplift_interval: Interval
    levels: tuple[LevelUplift, ...]
    qini: dict[str, Qini]


class UpliftReport(msgspec.Struct, frozen=True, kw_only=True):
    """The report of an A/B log of interventions, by a model's risk levels; `note` names its limitations."""

    target: str
    at: datetime
    model: str
    first: datetime
    last: datetime
    note: str
    measured: Uplift


def with_measured(rules: tuple[InterventionRule, ...], uplift: Uplift) -> tuple[InterventionRule, ...]:
    """Return the rules, with measured shares in place of assumed ones for the same level and intervention.

    An intervention that lost carts in the measurement counts as rescuing none.
    """
    measured = {(level.risk_level, level.intervention): level for level in uplift.levels}

    def replaced(rule: InterventionRule) -> InterventionRule:
        level = measured.get((rule.risk_level, rule.intervention))
        if level is None or level.rescued is None:
            return rule
        rescued = min(1.0, max(0.0, level.rescued))
        return msgspec.structs.replace(rule, rescued=rescued, rescued_interval=level.rescued_interval)

    return tuple(map(replaced, rules))
