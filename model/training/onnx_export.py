"""Export of a fitted estimator and its calibration to ONNX, verified to give the same scores.

The graph is built from the model's numbers, in double precision from the first comparison to the probability; only the
input is rounded. It does not depend on the library that trained the model.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from data.errors import ModelError
from model.artifact.onnx_runtime import ort
from model.artifact.predictor import TOLERANCE, Scorer
from model.calibration import Calibration
from model.estimators.base import Estimator
from model.numbers.blend import Blend
from model.numbers.calibration import probabilities
from model.numbers.network import FARTHEST, Network
from model.numbers.trees import Trees

__all__ = ["export_onnx", "onnx_bytes"]

_OPSETS = {"": 17, "ai.onnx.ml": 5}
"""Operator sets: of 2022 and, for trees in double precision, of 2024, which ONNX Runtime supports since 1.20."""

_IR_VERSION = 8
_SUM, _NO_TRANSFORM = 1, 0
_AT_MOST = 0


def export_onnx(estimator: Estimator, calibration: Calibration, rows: NDArray[np.float32]) -> bytes:
    """Return the model as ONNX: input `features` [n, features] float32, output `probabilities` [n, 2] double.

    `rows` are examples of shape [n, features], some with NaN, on which ONNX Runtime must agree with the estimator's own
    library within `TOLERANCE`. Raises `ModelError` if it does not.
    """
    raw = onnx_bytes(estimator.numbers(), calibration, rows.shape[1])
    differences = np.abs(Scorer(raw, rows.shape[1]).score(rows) - probabilities(calibration, estimator.score(rows)))
    wrong = np.flatnonzero(~(differences <= TOLERANCE))
    if len(wrong):
        raise ModelError(
            f"ONNX export: ONNX Runtime {ort.__version__} differs from {estimator.name} by up to "
            f"{differences.max():.2g} (at most {TOLERANCE:g} is allowed) in {len(wrong)} of {len(rows)} rows, first in "
            f"row {wrong[0]}; nothing was written; this version of the estimator's library may not be supported"
        )
    return raw


def onnx_bytes(numbers: Trees | Network | Blend, calibration: Calibration, width: int) -> bytes:
    """Return the graph from features to score, log-odds of 0 and 1, and their probabilities."""
    graph = _Graph()
    graph.add("Cast", ["features"], "x", to=TensorProto.DOUBLE)
    match numbers:
        case Trees():
            score, offset = graph.add_trees(numbers), numbers.offset
        case Network():
            score, offset = graph.add_network(numbers), 0.0
        case Blend():
            trees_score, network_score = graph.add_trees(numbers.trees), graph.add_network(numbers.network)
            score, offset = graph.add("Add", [trees_score, network_score], "score"), numbers.trees.offset
    offset = calibration.slope * offset + calibration.intercept
    # One operation for both classes, since the cost per operation dominates when one row is scored.
    sides = np.array([[-1.0, 1.0]])
    graph.add("Mul", [score, graph.constant(calibration.slope * sides)], "scaled")
    graph.add("Add", ["scaled", graph.constant(offset * sides)], "log_odds")
    graph.add("Sigmoid", ["log_odds"], "probabilities")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "encore",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
            [helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, [None, 2])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()],
        ir_version=_IR_VERSION,
    )
    onnx.checker.check_model(model)
    raw: bytes = model.SerializeToString()
    return raw


class _Graph:
    """Nodes and constants of a graph under construction, named in order, so that the bytes are reproducible."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float64), name))
        return name

    def add_trees(self, trees: Trees) -> str:
        """Add the trees, from `x` to their score without the offset; return its name."""
        nodes = trees.nodes
        is_leaf = nodes.left < 0
        inner, leaves = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
        place = np.empty(len(is_leaf), np.int64)
        place[inner], place[leaves] = np.arange(len(inner)), np.arange(len(leaves))
        # A tree of a single leaf is written as a split with that leaf on both sides.
        single_leaves = trees.roots[is_leaf[trees.roots]]
        roots = place[trees.roots]
        roots[is_leaf[trees.roots]] = len(inner) + np.arange(len(single_leaves))
        left, right = (np.concatenate([side[inner], single_leaves]) for side in (nodes.left, nodes.right))
        zeros = np.zeros(len(single_leaves))
        tensors = {
            "nodes_splits": np.concatenate([nodes.threshold[inner], zeros]),
            "nodes_modes": np.full(len(left), _AT_MOST, np.uint8),
            "leaf_weights": nodes.value[leaves],
        }
        integers = {
            "tree_roots": roots,
            "nodes_featureids": np.concatenate([nodes.feature[inner], zeros]),
            "nodes_truenodeids": place[left],
            "nodes_trueleafs": is_leaf[left],
            "nodes_falsenodeids": place[right],
            "nodes_falseleafs": is_leaf[right],
            "nodes_missing_value_tracks_true": np.concatenate([nodes.missing_left[inner], zeros]),
            "leaf_targetids": np.zeros(len(leaves)),
        }
        return self.add(
            "TreeEnsemble",
            ["x"],
            "trees",
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function=_SUM,
            post_transform=_NO_TRANSFORM,
            **{name: numpy_helper.from_array(values, name) for name, values in tensors.items()},
            **{name: values.astype(np.int64).tolist() for name, values in integers.items()},
        )

    def add_network(self, network: Network) -> str:
        """Add the network, from `x` to its score; return its name."""
        self.add("IsNaN", ["x"], "missing")
        self.add("Where", ["missing", self.constant(0.0), "x"], "known")
        self.add("Abs", ["known"], "size")
        self.add("Add", ["size", self.constant(1.0)], "size_1")
        self.add("Log", ["size_1"], "log_size")
        self.add("Sign", ["known"], "sign")
        self.add("Mul", ["sign", "log_size"], "log")
        self.add("Sub", ["log", self.constant(network.scaling.mean)], "centred")
        self.add("Div", ["centred", self.constant(network.scaling.deviation)], "scaled_log")
        self.add("Clip", ["scaled_log", self.constant(-FARTHEST), self.constant(FARTHEST)], "near")
        self.add("Where", ["missing", self.constant(0.0), "near"], "level")
        self.add("Cast", ["missing"], "as_number", to=TensorProto.DOUBLE)
        self.add("Mul", ["as_number", self.constant(network.scaling.tells)], "is_missing")
        last = self.add("Concat", ["level", "is_missing"], "inputs", axis=1)
        layers = list(zip(network.weights, network.biases, strict=True))
        for number, (weights, bias) in enumerate(layers):
            final = number == len(layers) - 1
            last = self.add("Gemm", [last, self.constant(weights), self.constant(bias)], f"layer_{number}")
            if not final:
                last = self.add("Relu", [last], f"relu_{number}")
        return last
