"""Each feature's contribution to an ensemble's score: exact path-dependent SHAP values, with NumPy alone.

On the path to a leaf of value v, each feature j has a weight z_j, the share of the training data that passes its
splits, and for a given row an o_j, 1 if the row passes them, otherwise 0. The leaf's term in the expected score, when
a set S of features is known, is v * prod(o_j for j in S) * prod(z_j for the others). The Shapley value of such a
product is (Owen, 1972, by the multilinear extension)

    share_i = v * (o_i - z_i) * integral over t in [0, 1] of prod(z_j + (o_j - z_j) * t for j != i)

and the integrand is a polynomial in t, which Gauss-Legendre quadrature integrates exactly. The result equals that of
TreeSHAP (Lundberg et al., 2020, `tree_path_dependent`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.numbers.trees import Trees

__all__ = ["TreeShares"]


@dataclass(frozen=True)
class TreeShares:
    """Leaves, sorted by the number of features on their paths, each as the box of rows that reach it.

    `values` and `starts` are of shape [leaves]; a leaf's entries, one per feature on its path, begin at its start. Per
    entry: the `feature`, the bounds `low` < x ≤ `high`, whether NaN passes (`missing`), and the `weight` z.
    """

    values: NDArray[np.float64]
    starts: NDArray[np.int64]
    feature: NDArray[np.int64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    missing: NDArray[np.bool_]
    weight: NDArray[np.float64]
    constant: float

    @classmethod
    def of(cls, trees: Trees) -> "TreeShares":
        """Return the boxes of an ensemble's leaves."""
        nodes = trees.nodes
        inner = np.flatnonzero(nodes.left >= 0)
        parent = np.full(len(nodes.left), -1)
        parent[nodes.left[inner]] = parent[nodes.right[inner]] = inner
        is_root = parent < 0
        leaves = np.flatnonzero(nodes.left < 0)
        constant = trees.offset + float(nodes.value[leaves[is_root[leaves]]].sum())
        leaves = leaves[~is_root[leaves]]

        # Climb from all leaves to the roots in parallel, with one entry per leaf and split on its path.
        climbed: list[tuple[NDArray[np.int64], ...]] = []
        leaf, node = np.arange(len(leaves)), leaves
        while len(node):
            climbed.append((leaf, node, parent[node]))
            node = parent[node]
            going = ~is_root[node]
            node, leaf = node[going], leaf[going]
        if not climbed:
            return cls._empty(constant)
        leaf, child, above = (np.concatenate(column) for column in zip(*climbed, strict=True))
        went_left = nodes.left[above] == child
        bound = _rounded_down(nodes.threshold[above])
        low = np.where(went_left, np.float32(-np.inf), bound)
        high = np.where(went_left, bound, np.float32(np.inf))
        missing = nodes.missing_left[above] == went_left
        weight = nodes.cover[child] / nodes.cover[above]
        feature = nodes.feature[above]

        # Merge splits of one feature on one path into one entry, and sort leaves by their number of entries.
        order = np.lexsort((feature, leaf))
        leaf, feature = leaf[order], feature[order]
        first = np.flatnonzero(np.append(True, (np.diff(leaf) != 0) | (np.diff(feature) != 0)))
        sizes = np.bincount(leaf[first], minlength=len(leaves))
        low, high = np.maximum.reduceat(low[order], first), np.minimum.reduceat(high[order], first)
        missing = np.logical_and.reduceat(missing[order], first)
        weight = np.multiply.reduceat(weight[order], first)
        by_size = np.argsort(sizes, kind="stable")
        rank = np.empty(len(leaves), np.int64)
        rank[by_size] = np.arange(len(leaves))
        placed = np.argsort(rank[leaf[first]], kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes[by_size])[:-1]])
        return cls(
            nodes.value[leaves[by_size]],
            starts.astype(np.int64),
            feature[first][placed],
            low[placed],
            high[placed],
            missing[placed],
            weight[placed],
            constant,
        )

    @classmethod
    def _empty(cls, constant: float) -> "TreeShares":
        none: NDArray[Any] = np.empty(0)
        whole = none.astype(np.int64)
        single = none.astype(np.float32)
        return cls(none, whole, whole, single, single, none.astype(np.bool_), none, constant)

    def base(self) -> float:
        """Return the expected score of an unknown row."""
        if not len(self.values):
            return self.constant
        return self.constant + float(self.values @ np.multiply.reduceat(self.weight, self.starts))

    def shares(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return each feature's contribution, shape [n, features]; a row's contributions sum to score - base."""
        shares = np.zeros(rows.shape, np.float64)
        ends = np.append(self.starts[1:], len(self.feature))
        sizes = ends - self.starts
        points = (sizes + 1) // 2  # Gauss-Legendre points that integrate a polynomial of degree sizes - 1 exactly
        for count in np.unique(points).tolist():
            first, last = np.searchsorted(points, [count, count + 1])
            block = slice(int(self.starts[first]), int(ends[last - 1]))
            starts = self.starts[first:last] - self.starts[first]
            self._add_shares(shares, rows, block, starts, sizes[first:last], self.values[first:last], count)
        return shares

    def _add_shares(  # noqa: PLR0917 - the parts of one block of leaves
        self,
        shares: NDArray[np.float64],
        rows: NDArray[np.float32],
        block: slice,
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
        values: NDArray[np.float64],
        count: int,
    ) -> None:
        feature, weight = self.feature[block], self.weight[block]
        low, high, missing = self.low[block], self.high[block], self.missing[block]
        nodes, node_weights = np.polynomial.legendre.leggauss(count)
        times, time_weights = (nodes + 1) / 2, node_weights / 2
        for number, row in enumerate(rows):
            x = row[feature]
            passes = np.where(np.isnan(x), missing, (x > low) & (x <= high))
            gain = passes - weight
            integral = np.zeros(len(feature))
            for time, time_weight in zip(times.tolist(), time_weights.tolist(), strict=True):
                factor = weight + gain * time  # positive, since weights are
                product = np.multiply.reduceat(factor, starts) * (values * time_weight)
                integral += np.repeat(product, sizes) / factor
            shares[number] += np.bincount(feature, integral * gain, minlength=len(row))


def _rounded_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the greatest float32 at or below each threshold, which splits float32 values in the same way."""
    rounded: NDArray[np.float32] = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
