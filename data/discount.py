"""What a discount does: it rescues a share of the purchases that would be lost, the same share for every tenth off.

    rescued(d)  = 1 - (1 - response) ** (d / 0.1)
    buys with d = p + (1 - p) * rescued(d)                              p: the chance to buy at the full price
    gain        = (1 - p) * rescued * (margin - d) - p * d              a share of the amount, against no discount

So a share of whatever is lost, be it a cart's, a customer's or a whole shop's: the means of parts are the whole's. The
synthetic shop, the rules about carts and the console's simulator all use this.
"""

from typing import Any

__all__ = ["RESPONSE", "gain", "rescued"]

RESPONSE = 0.28
"""The share of lost purchases that a tenth off rescues; an assumption, to be measured."""


def rescued(discount: Any, response: float = RESPONSE) -> Any:
    """Return the share of lost purchases that a discount (a share of the price) rescues; numbers or arrays."""
    return 1 - (1 - response) ** (discount / 0.1)


def gain(buys: Any, share: Any, discount: Any, margin: Any) -> Any:
    """Return the change of the margin by a discount that rescues a `share`, as a share of the amount.

    It earns the margin less the discount on what it rescues; who would have bought anyway gets the discount too. All
    are shares, numbers or arrays.
    """
    return (1 - buys) * share * (margin - discount) - buys * discount
