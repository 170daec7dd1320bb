"""From a fitted scikit-learn classifier to ONNX bytes that are proved to score the same."""

from typing import Any

import numpy as np
import onnxruntime
import skl2onnx
from numpy.typing import NDArray
from skl2onnx.common.data_types import FloatTensorType

from data.errors import ModelError
from model.predictor import TOLERANCE, Scorer

__all__ = ["export_onnx"]

_OPSETS = {"": 17, "ai.onnx.ml": 3}
"""Old enough for any ONNX Runtime of the last years, so that a model outlives an upgrade either way."""


def export_onnx(classifier: Any, rows: NDArray[np.float32]) -> bytes:
    """The classifier as ONNX: input `features` [n, features] float32, output `probabilities` [n, 2] float32.

    `rows` are examples of shape [n, features], NaN among them, on which ONNX Runtime must agree with scikit-learn
    within `TOLERANCE`; raises `ModelError` when it does not.
    """
    width = rows.shape[1]
    onnx = skl2onnx.convert_sklearn(
        classifier,
        name="encore",  # else a random one, and two exports of one model would differ
        initial_types=[("features", FloatTensorType([None, width]))],
        options={id(classifier): {"zipmap": False}},
        target_opset=_OPSETS,
    )
    _route_missing_values(onnx, classifier)
    for output in [output for output in onnx.graph.output if output.name != "probabilities"]:
        onnx.graph.output.remove(output)
    raw: bytes = onnx.SerializeToString()
    _check_agreement(raw, classifier, rows)
    return raw


def _route_missing_values(onnx: Any, classifier: Any) -> None:
    """Carry over to which side each split of a forest sends NaN.

    skl2onnx 1.20 leaves it out (github.com/onnx/sklearn-onnx/issues/1253), and ONNX Runtime then sends every NaN right.
    """
    trees = [estimator.tree_ for estimator in getattr(classifier, "estimators_", []) if hasattr(estimator, "tree_")]
    if not trees:
        return
    left = np.concatenate([tree.missing_go_to_left for tree in trees])
    for node in onnx.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_missing_value_tracks_true" and len(attribute.ints) == len(left):
                attribute.ints[:] = left.astype(int).tolist()


def _check_agreement(onnx: bytes, classifier: Any, rows: NDArray[np.float32]) -> None:
    differences = np.abs(Scorer(onnx, rows.shape[1]).score(rows) - classifier.predict_proba(rows)[:, 1])
    wrong = np.flatnonzero(~(differences <= TOLERANCE))
    if len(wrong):
        raise ModelError(
            f"ONNX export: ONNX Runtime {onnxruntime.__version__} differs from scikit-learn by up to "
            f"{differences.max():.2g} (at most {TOLERANCE:g} is allowed) in {len(wrong)} of {len(rows)} rows, first in "
            f"row {wrong[0]}; nothing was written; skl2onnx {skl2onnx.__version__} may not support this estimator"
        )
