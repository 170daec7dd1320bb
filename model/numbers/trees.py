"""An ensemble of trees as numbers, independent of the training library, for the ONNX export and explanations."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tree", "Trees"]


class Tree(NamedTuple):
    """A tree as columns of shape [nodes], the root first; `left` and `right` are -1 at a leaf.

    A value ≤ `threshold` goes left, a greater one right, NaN by `missing_left`. `value` is used at leaves only. `cover`
    is the amount of training data that passed the node.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]
    cover: NDArray[np.float64]


@dataclass(frozen=True)
class Trees:
    """Concatenated trees: the columns of `Tree`, with children as indices into them, and the index of each root.

    The ensemble's score of a row is `offset` plus the value of the leaf that the row reaches in each tree.
    """

    nodes: Tree
    roots: NDArray[np.int64]
    offset: float

    @classmethod
    def of(cls, trees: Iterable[Tree], offset: float) -> "Trees":
        """Concatenate single trees."""
        trees = list(trees)
        sizes = np.array([len(tree.left) for tree in trees])
        roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        shifted = [
            tree._replace(
                left=np.where(tree.left < 0, -1, tree.left + root),
                right=np.where(tree.right < 0, -1, tree.right + root),
            )
            for tree, root in zip(trees, roots, strict=True)
        ]
        columns = (np.concatenate(column) for column in zip(*shifted, strict=True))
        return cls(Tree(*columns), roots, float(offset))

    def times(self, weight: float) -> "Trees":
        """Return the same trees, with scores multiplied by `weight`."""
        return Trees(self.nodes._replace(value=weight * self.nodes.value), self.roots, weight * self.offset)
