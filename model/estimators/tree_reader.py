"""Trees of any library as numbers, read through treelite, which knows each library's format (ADR 52)."""

import numpy as np
import treelite

from model.numbers.trees import Tree, Trees

__all__ = ["read_trees"]

_LESS = 2
"""Treelite's code of the operator `<`, by which XGBoost splits; the other libraries split by `<=`."""


def read_trees(model: treelite.Model) -> Trees:
    """Return the trees of a binary classifier. Leaves that hold class shares, as a forest's do, get value 0."""
    trees = [_tree(model.get_tree_accessor(place)) for place in range(model.num_tree)]
    return Trees.of(trees, float(model.get_header_accessor().get_field("base_scores")[0]))


def _tree(tree: treelite.model.TreeAccessor) -> Tree:
    left, edge = tree.get_field("cleft"), tree.get_field("threshold")
    # x < t is equivalent to x ≤ the next number below t, in the same 32 or 64 bits.
    threshold = np.where(tree.get_field("cmp") == _LESS, np.nextafter(edge, edge.dtype.type(-np.inf)), edge)
    covers = (tree.get_field("sum_hess"), tree.get_field("data_count"), np.ones(len(left)))
    return Tree(
        tree.get_field("split_index").astype(np.int64),
        threshold.astype(np.float64),
        left.astype(np.int64),
        tree.get_field("cright").astype(np.int64),
        tree.get_field("default_left").astype(np.bool_),
        tree.get_field("leaf_value").astype(np.float64),
        next(cover for cover in covers if len(cover)).astype(np.float64),
    )
