"""What an intervention does, as an A/B log measured it: values that are stored, served and put into the rules."""

from datetime import datetime

import msgspec

from model.interventions import InterventionRule
from model.metrics import Curve, Interval

__all__ = ["LevelUplift", "Qini", "Uplift", "UpliftReport", "with_measured"]


class LevelUplift(msgspec.Struct, frozen=True, kw_only=True):
    """An intervention at a risk level: what a table of rules `assumed` that it rescues there, and what was measured.

    `bought_control` and `bought_treated` are shares, `uplift` is their difference; `rescued` is the share of carts that
    would be lost. Intervals are of 95 %, by resampled users. Without enough rows in each arm there are none.
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
    """Extra purchases per row over the share of rows treated first, and the area above that of treating at random."""

    curve: Curve
    coefficient: float


class Uplift(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial says: of all rows, by risk level, and Qini curves by the order in which rows are treated."""

    rows: int
    treated_share: float
    uplift: float
    uplift_interval: Interval
    levels: tuple[LevelUplift, ...]
    qini: dict[str, Qini]


class UpliftReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an A/B log says of the interventions, by a model's risk levels; `note` says what to doubt."""

    target: str
    at: datetime
    model: str
    first: datetime
    last: datetime
    note: str
    measured: Uplift


def with_measured(rules: tuple[InterventionRule, ...], uplift: Uplift) -> tuple[InterventionRule, ...]:
    """Return the rules with what was measured of the same level and intervention instead of what was assumed.

    An intervention that was measured to lose carts rescues none.
    """
    measured = {(level.risk_level, level.intervention): level for level in uplift.levels}

    def replaced(rule: InterventionRule) -> InterventionRule:
        level = measured.get((rule.risk_level, rule.intervention))
        if level is None or level.rescued is None:
            return rule
        found = min(1.0, max(0.0, level.rescued))
        return msgspec.structs.replace(rule, rescued=found, rescued_interval=level.rescued_interval)

    return tuple(map(replaced, rules))
