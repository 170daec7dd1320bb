"""The predictor scores as training did, takes what it should, and starts light."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from data.clock import ManualClock
from data.errors import ModelError
from data.units import DAY_US
from model.artifact.artifact import Artifact
from model.artifact.metadata import Probe
from model.artifact.predictor import Predictor, Scorer
from model.examples.training_set import TrainingSet
from model.targets import REPEAT_PURCHASE
from model.training.train import TrainOptions, train


def make_examples() -> TrainingSet:
    random = np.random.default_rng(3)
    rows = random.normal(size=(2000, 3)).astype(np.float32)
    rows[random.random(rows.shape) < 0.2] = np.nan
    labels = (np.nan_to_num(rows[:, 0]) + np.isnan(rows[:, 1]) + 0.5 * random.normal(size=2000) > 0.5).astype(np.int64)
    return TrainingSet(("a", "b", "c"), rows, labels, np.sort(random.integers(0, 180 * DAY_US, 2000)), 2000)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    small = TrainOptions(parameters={"n_estimators": 10, "min_samples_leaf": 10})
    return train(make_examples(), REPEAT_PURCHASE, feature_plan="p", options=small, clock=ManualClock(0))


def test_it_carries_what_the_server_needs(artifact: Artifact) -> None:
    predictor = Predictor(artifact)
    assert predictor.features == ("a", "b", "c")
    assert predictor.version == artifact.metadata.version
    assert predictor.threshold == artifact.metadata.threshold
    assert predictor.metadata is artifact.metadata


def test_a_row_scores_alone_as_it_does_in_company(artifact: Artifact) -> None:
    predictor, rows = Predictor(artifact), make_examples().rows[:200]
    together = predictor.score(rows)
    assert together.shape == (200,)
    assert together.dtype == np.float64
    assert ((together >= 0) & (together <= 1)).all()
    assert together.std() > 0.1
    alone = [predictor.score(rows[[number]])[0] for number in range(200)]
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-12)  # the sigmoid of many is computed in lanes


def test_it_takes_strided_wider_and_empty_arrays(artifact: Artifact) -> None:
    predictor, rows = Predictor(artifact), make_examples().rows[:20]
    np.testing.assert_array_equal(predictor.score(np.asfortranarray(rows)[::2]), predictor.score(rows)[::2])
    np.testing.assert_array_equal(predictor.score(rows.astype(np.float64)), predictor.score(rows))
    assert predictor.score(rows[:0]).shape == (0,)


@pytest.mark.parametrize("shape", [(3,), (1, 2), (1, 4), (1, 1, 3)])
def test_another_shape_is_refused(artifact: Artifact, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"it takes \[n, 3\]"):
        Predictor(artifact).score(np.zeros(shape, np.float32))


def test_a_runtime_that_scores_differently_is_refused(artifact: Artifact) -> None:
    """As ONNX Runtime 1.26.0 did with forests (github.com/microsoft/onnxruntime/issues/28557)."""
    probe = artifact.metadata.probe
    assert any(value is None for row in probe.rows for value in row)
    for scores in ([1 - score for score in probe.scores], [float("nan")] * len(probe.scores)):
        metadata = msgspec.structs.replace(artifact.metadata, probe=Probe(rows=probe.rows, scores=scores))
        with pytest.raises(ModelError, match="away from training"):
            Predictor(Artifact(artifact.onnx, metadata))


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot read the model"):
        Scorer(b"no model", 3)


def test_one_column_of_probabilities_is_refused() -> None:
    """Its second column would be somebody else's, or none."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["features"], ["probabilities"], axes=[1], keepdims=1)],
        "one",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelError, match=r"one output \[n, 2\]"):
        Scorer(model.SerializeToString(), 3)


def test_a_model_of_other_features_is_refused(artifact: Artifact) -> None:
    metadata = msgspec.structs.replace(artifact.metadata, features=("a", "b"))
    with pytest.raises(ModelError, match=r"one input \[n, 2\]"):
        Predictor(Artifact(artifact.onnx, metadata))


@pytest.mark.integration
def test_the_server_starts_without_the_training_libraries() -> None:
    heavy = ("sklearn", "pandas", "skl2onnx", "onnx", "duckdb", "feast", "pyarrow", "scipy")
    code = (
        "import sys, model.artifact.predictor, model.registry.published; "
        f"print([name for name in {heavy} if name in sys.modules], 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


@pytest.mark.integration
def test_the_registry_needs_no_runtime() -> None:
    code = "import sys, model.registry.published; print('onnxruntime' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


@pytest.mark.long
@pytest.mark.integration  # a process of its own
def test_onnx_runtime_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    """It keeps an id of the account in its home for that, as soon as it is imported."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", "import model.training.onnx_export"], env=environment, check=True)
    assert [path.name for path in tmp_path.rglob("*")] == []
