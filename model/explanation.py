"""Why a score is what it is: what each feature adds to its log-odds, exactly.

The calibrated log-odds are slope * score + intercept, and the score is a sum (of trees' leaves, or through a network):
shares of the score, times the slope, are shares of the log-odds. They are kept with the model as plain numbers.
"""

import io
import zipfile
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data.errors import ModelError
from model.metadata import Calibration
from model.network import Network, Scaling
from model.tree_shares import TreeShares

__all__ = ["Explainer", "Explanation", "Shares", "decode_shares", "encode_shares"]


class Explanation(NamedTuple):
    """log-odds(score) = `base` + the sum over features of a row of `contributions`, float64 of shape [n, features]."""

    base: float
    contributions: NDArray[np.float64]


class Shares(Protocol):
    """What an estimator's score is made of."""

    def base(self) -> float:
        """The score against which shares are told."""

    def shares(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Each feature's share, shape [n, features], in score - base."""


class Explainer:
    """Explains the calibrated scores of one model."""

    def __init__(self, shares: Shares, calibration: Calibration) -> None:
        self._shares = shares
        self._slope = calibration.slope
        self._base = calibration.slope * shares.base() + calibration.intercept

    def explain(self, rows: NDArray[np.float32]) -> Explanation:
        """The explanation of rows, float32 of shape [n, features]."""
        return Explanation(self._base, self._slope * self._shares.shares(rows))


def encode_shares(shares: TreeShares | Network) -> bytes:
    """As an `.npz` file of plain arrays."""
    arrays: dict[str, Any]
    if isinstance(shares, TreeShares):
        arrays = {name: getattr(shares, name) for name in shares.__dataclass_fields__}
        arrays["feature"] = arrays["feature"].astype(np.int32)
        arrays["starts"] = arrays["starts"].astype(np.int32)
    else:
        arrays = {
            "mean": shares.scaling.mean,
            "deviation": shares.scaling.deviation,
            "tells": shares.scaling.tells,
            "reference": shares.reference,
            **{f"weights_{layer}": weights for layer, weights in enumerate(shares.weights)},
            **{f"bias_{layer}": bias for layer, bias in enumerate(shares.biases)},
        }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def decode_shares(raw: bytes) -> TreeShares | Network:
    """From what `encode_shares` wrote; ModelError where it is something else. Nothing in it can execute."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            arrays = dict(file.items())
        if "mean" not in arrays:
            return TreeShares(**arrays | {"constant": float(arrays["constant"])})
        layers = range(sum(name.startswith("weights_") for name in arrays))
        return Network(
            Scaling(arrays["mean"], arrays["deviation"], arrays["tells"]),
            tuple(arrays[f"weights_{layer}"] for layer in layers),
            tuple(arrays[f"bias_{layer}"] for layer in layers),
            arrays["reference"],
        )
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"model: its explainer cannot be read ({error}); restore it, or train again") from error
