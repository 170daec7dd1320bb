"""Interventions against abandoned carts: a table of rules, by rising probability of abandonment.

An intervention rescues a share of the carts that would be abandoned (`data.discount`); its estimated margin impact is
the gain from these. Each shop has to measure its own shares (`model.evaluation.uplift`); those of `DEFAULT_RULES` are
plausible assumptions.
"""

from itertools import pairwise
from typing import Annotated, Literal

import msgspec

from data import discount
from data.errors import ConfigurationError

__all__ = ["DEFAULT_RULES", "Intervention", "InterventionRule", "intervene", "parse_rules"]

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
RiskLevel = Literal["LOW", "MEDIUM", "HIGH"]
Basis = Literal["assumed", "measured"]


class InterventionRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An intervention, and the probability of abandonment from which it applies.

    `margin` and `discount` are shares of the amount; `rescued` is a share of lost carts, with the 95 % interval
    `rescued_interval` if it was measured, and assumed otherwise.
    """

    risk_level: RiskLevel
    from_probability: _Share
    intervention: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    rescued: _Share = 0.0
    discount: _Share = 0.0
    margin: _Share = 0.3
    rescued_interval: tuple[float, float] | None = None

    @property
    def basis(self) -> Basis:
        """Whether `rescued` is assumed or measured."""
        return "assumed" if self.rescued_interval is None else "measured"


class Intervention(msgspec.Struct, frozen=True):
    """The recommended intervention; its impact is in the amount's currency, null if the amount is unknown.

    `impact_basis` is whether the impact follows from an assumption or from an A/B log.
    """

    risk_level: RiskLevel
    recommended_intervention: str
    estimated_margin_impact: float | None
    impact_basis: Basis


DEFAULT_RULES = (
    InterventionRule("LOW", 0.0, "none"),
    InterventionRule("MEDIUM", 0.4, "reminder_email", rescued=0.05),
    InterventionRule("HIGH", 0.7, "discount_offer", rescued=round(discount.rescued(0.05), 2), discount=0.05),
)


def intervene(
    probability: float, amount: float | None, rules: tuple[InterventionRule, ...] = DEFAULT_RULES
) -> Intervention:
    """Return the recommendation for a probability of abandonment, by the last rule that begins at or below it."""
    rule = next(rule for rule in reversed(rules) if rule.from_probability <= probability)
    share = discount.gain(1 - probability, rule.rescued, rule.discount, rule.margin)
    impact = None if amount is None else amount * share
    return Intervention(rule.risk_level, rule.intervention, impact, rule.basis)


def parse_rules(text: str) -> tuple[InterventionRule, ...]:
    """Parse rules from JSON: a list of objects with `InterventionRule`'s fields, ascending, the first from 0.

    Empty text means the default rules. Raises `ConfigurationError`, in one line, for anything else.
    """
    if not text.strip():
        return DEFAULT_RULES
    try:
        rules = msgspec.json.decode(text, type=tuple[InterventionRule, ...])
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"intervention rules: {error}; give a JSON list of rules") from error
    starts = [rule.from_probability for rule in rules]
    if not starts or starts[0] != 0 or any(later <= earlier for earlier, later in pairwise(starts)):
        raise ConfigurationError(
            f"intervention rules: they begin at {starts}; the first must begin at 0 and each later than the one before"
        )
    return rules
