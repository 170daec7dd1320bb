"""What a discount does: it rescues a share of the purchases that would be lost, the same share for every tenth off.

    rescued(d)  = 1 - (1 - response) ** (d / 0.1)
    buys with d = p + (1 - p) * rescued(d)                              p: the chance to buy at the full price
    gain        = (1 - p) * rescued * (margin - d) - p * d              a share of the amount, against no discount

The share is the same for a cart, a customer or a whole shop, so the mean over parts is the value of the whole. The
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

    Purchases that it rescues earn the margin less the discount; customers who would have bought anyway get the discount
    too. All arguments are shares, as numbers or arrays.
    """
    return (1 - buys) * share * (margin - discount) - buys * discount
