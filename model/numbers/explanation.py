"""Explanations: the exact contribution of each feature to a score's log-odds.

The calibrated log-odds are slope * score + intercept, and the score is a sum (of trees' leaves, or through a network):
contributions to the score, times the slope, are contributions to the log-odds. They are stored as plain numbers.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data.errors import ModelError
from model.calibration import Calibration
from model.numbers.blend import Blend, BlendShares
from model.numbers.network import Network, Scaling
from model.numbers.tree_shares import TreeShares
from model.numbers.trees import Trees

__all__ = ["Explainer", "Explanation", "Shares", "decode_shares", "encode_shares", "shares_of"]

_TREE_ARRAYS = tuple(field.name for field in fields(TreeShares))


class Explanation(NamedTuple):
    """For each row, log-odds = `base` + the sum of its `contributions`, float64 of shape [n, features]."""

    base: float
    contributions: NDArray[np.float64]


class Shares(Protocol):
    """Contributions of features to an estimator's score."""

    def base(self) -> float:
        """Return the score to which contributions are relative."""

    def shares(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return each feature's contribution to score - base, shape [n, features]."""


class Explainer:
    """Explains the calibrated scores of one model."""

    def __init__(self, shares: Shares, calibration: Calibration) -> None:
        self._shares = shares
        self._slope = calibration.slope
        self._base = calibration.slope * shares.base() + calibration.intercept

    def explain(self, rows: NDArray[np.float32]) -> Explanation:
        """Return the explanation of rows, float32 of shape [n, features]."""
        return Explanation(self._base, self._slope * self._shares.shares(rows))


def shares_of(numbers: Trees | Network | Blend) -> Shares:
    """Return the contributions of a model's numbers."""
    match numbers:
        case Trees():
            return TreeShares.of(numbers)
        case Blend():
            return BlendShares.of(numbers)
        case Network():
            return numbers


def encode_shares(shares: Shares) -> bytes:
    """Encode contributions as an `.npz` file of plain arrays."""
    match shares:
        case TreeShares():
            arrays = _tree_arrays(shares)
        case Network():
            arrays = _network_arrays(shares)
        case BlendShares():
            arrays = _tree_arrays(shares.trees) | _network_arrays(shares.network)
        case _:
            raise TypeError(f"no file is known for {type(shares).__name__}")
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def decode_shares(raw: bytes) -> Shares:
    """Decode the output of `encode_shares`, without executing any code. Raises ModelError for anything else."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            arrays = dict(file.items())
        has_trees, has_network = "constant" in arrays, "mean" in arrays
        if has_trees and has_network:
            return BlendShares(_trees_from(arrays), _network_from(arrays))
        return _network_from(arrays) if has_network else _trees_from(arrays)
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"model: its explainer cannot be read ({error}); restore it, or train again") from error


def _tree_arrays(shares: TreeShares) -> dict[str, Any]:
    arrays = {name: getattr(shares, name) for name in _TREE_ARRAYS}
    return arrays | {name: arrays[name].astype(np.int32) for name in ("feature", "starts")}


def _trees_from(arrays: Mapping[str, Any]) -> TreeShares:
    return TreeShares(**{name: arrays[name] for name in _TREE_ARRAYS} | {"constant": float(arrays["constant"])})


def _network_arrays(network: Network) -> dict[str, Any]:
    return {
        "mean": network.scaling.mean,
        "deviation": network.scaling.deviation,
        "tells": network.scaling.tells,
        "reference": network.reference,
        **{f"weights_{layer}": weights for layer, weights in enumerate(network.weights)},
        **{f"bias_{layer}": bias for layer, bias in enumerate(network.biases)},
    }


def _network_from(arrays: Mapping[str, Any]) -> Network:
    layers = range(sum(name.startswith("weights_") for name in arrays))
    return Network(
        Scaling(arrays["mean"], arrays["deviation"], arrays["tells"]),
        tuple(arrays[f"weights_{layer}"] for layer in layers),
        tuple(arrays[f"bias_{layer}"] for layer in layers),
        arrays["reference"],
    )
