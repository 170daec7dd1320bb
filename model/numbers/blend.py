"""Trees and a line in one score: each is at its best where the other is weak."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.numbers.network import Network
from model.numbers.tree_shares import TreeShares
from model.numbers.trees import Trees

__all__ = ["Blend", "BlendShares"]


@dataclass(frozen=True)
class Blend:
    """The score is the sum of both."""

    trees: Trees
    network: Network


@dataclass(frozen=True)
class BlendShares:
    """What each feature adds to a sum is what it adds to its parts."""

    trees: TreeShares
    network: Network

    @classmethod
    def of(cls, blend: Blend) -> "BlendShares":
        """The shares of a blend."""
        return cls(TreeShares.of(blend.trees), blend.network)

    def base(self) -> float:
        """The score against which shares are told."""
        return self.trees.base() + self.network.base()

    def shares(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Each feature's share, shape [n, features], of rows of that shape: a row's shares sum to score - base."""
        return self.trees.shares(rows) + self.network.shares(rows)
