"""Simulation of a discount: each customer's probability to buy at each discount, and the profit that is left.

chance   p(d) = p + (1 − p) · rescued(d)       r: `data.discount`; how customers respond is an assumption
profit   p(d) · (m − d) · a − c                m: margin share at full price, d: discount, a: amount, c: cost of asking
uplift   profit(d) − p · m · a                 against leaving the customer alone; offer where it is above 0
                                               (Blattberg, Kim & Neslin 2008, Database Marketing, ch. 10)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.discount import gain, rescued
from data.errors import ConfigurationError

__all__ = ["Outcome", "simulate"]


class Outcome(NamedTuple):
    """One discount (a share): offered to everyone, and only where it pays.

    `purchases` and `profit` are changes against offering nothing, in expected purchases and money.
    """

    discount: float
    purchases: float
    profit: float
    targeted: int
    targeted_purchases: float
    targeted_profit: float


def simulate(
    scores: Sequence[float],
    amounts: Sequence[float],
    discounts: Sequence[float],
    *,
    margin: float,
    response: float,
    cost: float,
) -> list[Outcome]:
    """Return the outcome of each discount over these customers. Raises ConfigurationError for numbers out of range.

    `scores` are probabilities to buy without an offer, `amounts` what they would then spend; `margin` is a share of the
    full price, `response` the share of lost purchases that a tenth off rescues, `cost` money per customer asked.
    """
    p, a = np.asarray(scores, np.float64), np.asarray(amounts, np.float64)
    if not len(p) or len(p) != len(a):
        raise ConfigurationError("no customers to simulate; score some first")
    if not (0 < margin <= 1 and cost >= 0 and all(0 <= share < 1 for share in (response, *discounts))):
        raise ConfigurationError("margin, response and discounts must be shares between 0 and 1, the cost not below 0")
    outcomes = []
    for discount in discounts:
        share = rescued(discount, response)
        rescued_purchases = (1 - p) * share
        uplift = gain(p, share, discount, margin) * a - cost
        pays = uplift > 1e-9 * a  # more than the last digits of a float
        outcomes.append(
            Outcome(
                discount,
                float(rescued_purchases.sum()),
                float(uplift.sum()),
                int(pays.sum()),
                float(rescued_purchases[pays].sum()),
                float(uplift[pays].sum()),
            )
        )
    return outcomes
