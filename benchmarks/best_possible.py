"""The best score that any model could reach on a synthetic shop: the shop's own probabilities."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.shop.foresight import Foresight
from data.shop.shop import Shop
from model.targets import PURCHASE_INTENT, REPEAT_PURCHASE, Target

__all__ = ["own_probabilities"]


def own_probabilities(
    shop: Shop, target: Target, users: Sequence[str], products: Sequence[str], times_us: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the shop's probability of yes for each question of one of the three targets, at its time.

    For `repeat_purchase` it is valid at a purchase only, not for `later` questions.
    """
    if target == REPEAT_PURCHASE:
        return shop.repeat_probability(users, products)
    foresight = Foresight(shop, pa.concat_tables(shop.history()))
    if target == PURCHASE_INTENT:
        return foresight.purchase(users, times_us)
    return foresight.abandonment(users, products, times_us)
