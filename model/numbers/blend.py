"""The sum of the scores of trees and a linear model, as numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.numbers.network import Network
from model.numbers.tree_shares import TreeShares
from model.numbers.trees import Trees

__all__ = ["Blend", "BlendShares"]


@dataclass(frozen=True)
class Blend:
    """A model whose score is the sum of both scores."""

    trees: Trees
    network: Network


@dataclass(frozen=True)
class BlendShares:
    """Contributions to a blend's score: the sums of the contributions to its parts."""

    trees: TreeShares
    network: Network

    @classmethod
    def of(cls, blend: Blend) -> "BlendShares":
        """Return the contributions of a blend."""
        return cls(TreeShares.of(blend.trees), blend.network)

    def base(self) -> float:
        """Return the score that contributions are relative to."""
        return self.trees.base() + self.network.base()

    def shares(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return each feature's contribution, shape [n, features]; a row's contributions sum to score - base."""
        return self.trees.shares(rows) + self.network.shares(rows)
