"""What a discount would bring: each customer's chance to buy at each discount, and the profit that is left.

chance   logit p(d) = logit p + r · d / 10 %   r: what a tenth off adds to the log-odds; an assumption, to be measured
                                               (a logit response to price: McFadden 1974; Guadagni & Little 1983)
profit   p(d) · (m − d) · a − c                m: margin share at full price, d: discount, a: amount, c: cost of asking
uplift   profit(d) − p · m · a                 against leaving the customer alone; offer where it is above 0
                                               (Blattberg, Kim & Neslin 2008, Database Marketing, ch. 10)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.errors import ConfigurationError

__all__ = ["Outcome", "chances", "simulate"]

_Numbers = NDArray[np.float64]


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


def chances(scores: _Numbers, discount: float, response: float) -> _Numbers:
    """Return probabilities after a discount; `response` is the change of the log-odds for each tenth off."""
    inside = np.clip(scores, 1e-9, 1 - 1e-9)
    log_odds = np.log(inside / (1 - inside)) + response * discount / 0.1
    changed: _Numbers = 1 / (1 + np.exp(-log_odds))
    return changed


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
    full price, `cost` money per customer asked.
    """
    p, a = np.asarray(scores, np.float64), np.asarray(amounts, np.float64)
    if not len(p) or len(p) != len(a):
        raise ConfigurationError("no customers to simulate; score some first")
    if not (0 < margin <= 1 and cost >= 0 and all(0 <= discount < 1 for discount in discounts)):
        raise ConfigurationError("the margin and discounts must be shares between 0 and 1, the cost not below 0")
    alone = p * margin * a
    found = []
    for discount in discounts:
        changed = chances(p, discount, response)
        uplift = changed * (margin - discount) * a - cost - alone
        pays = uplift > 1e-9 * a  # more than the last digits of a float
        found.append(
            Outcome(
                discount,
                float((changed - p).sum()),
                float(uplift.sum()),
                int(pays.sum()),
                float((changed - p)[pays].sum()),
                float(uplift[pays].sum()),
            )
        )
    return found
