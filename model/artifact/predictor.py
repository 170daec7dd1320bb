"""A model version in memory that scores feature rows with ONNX Runtime and NumPy alone: the hot path.

One row takes tens of microseconds on one thread: handing work to a pool would cost more than the work itself, and a
spinning pool would compete with the server for the processor.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import ModelError
from model.artifact.artifact import Artifact
from model.artifact.onnx_runtime import ort
from model.numbers.explanation import Explainer, Explanation, decode_shares
from model.rows import float32_rows

__all__ = ["TOLERANCE", "Predictor", "Scorer"]

TOLERANCE = 1e-5
"""The largest accepted difference from the trained model's score, since some libraries sum in float32."""


class Scorer:
    """An ONNX classifier with one input of `width` float32 features and one output of two probabilities."""

    def __init__(self, onnx: bytes, width: int, *, threads: int = 1) -> None:
        self._width = width
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors share no other root
            raise ModelError(f"ONNX Runtime {ort.__version__} cannot read the model: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        input_shapes, output_shapes = ([tensor.shape for tensor in tensors] for tensors in (inputs, outputs))
        if [shape[1:] for shape in input_shapes] != [[width]] or [shape[1:] for shape in output_shapes] != [[2]]:
            raise ModelError(
                f"model: its inputs are of shapes {input_shapes} and its outputs of {output_shapes}; one input "
                f"[n, {width}] and one output [n, 2] (the probabilities of 0 and 1) are needed"
            )
        self._input = inputs[0].name
        self._outputs = [outputs[0].name]

    def score(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Return probabilities of label 1, shape [n], of rows of shape [n, width].

        A row's score depends on that row alone, except for the last bits, since trees are summed in another order in a
        batch. Raises `ModelError` for another shape.
        """
        values = float32_rows(rows)
        if values.ndim != 2 or values.shape[1] != self._width:
            raise ModelError(f"model: rows of shape {values.shape} were given; it takes [n, {self._width}]")
        if not len(values):
            return np.empty(0, np.float64)
        probabilities = self._session.run(self._outputs, {self._input: values})[0]
        scores: NDArray[np.float64] = probabilities[:, 1].astype(np.float64)
        return scores


class Predictor:
    """A model version, ready to score.

    Raises `ModelError` when this machine's ONNX Runtime does not reproduce the scores of training.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.metadata = artifact.metadata
        self.version = artifact.metadata.version
        self.sha256 = artifact.sha256
        self.features = artifact.metadata.features
        self.threshold = artifact.metadata.threshold
        self._scorer = Scorer(artifact.onnx, len(self.features))
        self._explainer_bytes = artifact.explainer
        self._explainer: Explainer | None = None
        self._probe()

    def score(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Return probabilities of yes, shape [n], of float32 rows, shape [n, features], in the order of `features`."""
        return self._scorer.score(rows)

    def explain(self, rows: NDArray[np.float32]) -> Explanation:
        """Return each feature's contribution to the log-odds of the scores of rows, float32 of shape [n, features].

        The first call decodes the explainer. A forest's row takes tens of milliseconds (`docs/models.md`). Raises
        `ModelError` when the explainer is damaged.
        """
        if self._explainer is None:
            self._explainer = Explainer(decode_shares(self._explainer_bytes), self.metadata.calibration)
        return self._explainer.explain(float32_rows(rows))

    def _probe(self) -> None:
        probe = self.metadata.probe
        try:
            scores = self.score(float32_rows(probe.rows))
            difference = float(np.abs(scores - np.array(probe.scores)).max())
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"model {self.metadata.target} {self.version}: its probe rows are damaged ({error}); restore it, or "
                "train again"
            ) from error
        if not difference <= TOLERANCE:
            raise ModelError(
                f"model {self.metadata.target} {self.version}: ONNX Runtime {ort.__version__} scores its probe rows "
                f"{difference:.2g} away from training (ONNX Runtime {self.metadata.libraries.get('onnxruntime')}); "
                "use that runtime, or train again"
            )
