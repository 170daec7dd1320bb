"""A model version as files: `model.onnx`, `explainer.npz`, and `metadata.json` with the hashes of both."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from data.atomic import whole_folder
from data.errors import ModelError, UnavailableError
from model.artifact.metadata import Metadata, decode_metadata, encode_metadata

__all__ = ["Artifact", "name_version", "read_artifact", "read_metadata", "write_artifact"]

_MODEL = "model.onnx"
_EXPLAINER = "explainer.npz"
_METADATA = "metadata.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A trained model: its ONNX bytes, its metadata, and the explainer's bytes (plain numbers)."""

    onnx: bytes
    metadata: Metadata
    explainer: bytes = b""


def name_version(created: datetime, onnx: bytes) -> str:
    """Return a name that sorts by time and is unique within a second, such as `20261121-030405-ab12cd`."""
    return f"{created:%Y%m%d-%H%M%S}-{hashlib.sha256(onnx).hexdigest()[:6]}"


def write_artifact(folder: Path, artifact: Artifact) -> None:
    """Write a version into `folder`, which must not exist, atomically. Raises ModelError where it exists."""
    _verify(artifact, folder)
    try:
        with whole_folder(folder) as scratch:
            (scratch / _MODEL).write_bytes(artifact.onnx)
            (scratch / _EXPLAINER).write_bytes(artifact.explainer)
            (scratch / _METADATA).write_bytes(encode_metadata(artifact.metadata))
    except FileExistsError as error:
        raise ModelError(f"model {folder}: this version exists already; nothing was written") from error


def read_artifact(folder: Path) -> Artifact:
    """Read a version.

    Raises `UnavailableError` when it is absent, `ModelError` when it is damaged or changed.
    """
    try:
        raw, onnx, explainer = ((folder / name).read_bytes() for name in (_METADATA, _MODEL, _EXPLAINER))
    except FileNotFoundError as error:
        raise UnavailableError(f"model {folder}: {error.filename} is not there; train a model") from error
    artifact = Artifact(onnx, decode_metadata(raw, f"model {folder / _METADATA}"), explainer)
    _verify(artifact, folder)
    return artifact


def read_metadata(folder: Path) -> Metadata:
    """Read a version's metadata, without its model; errors as `read_artifact`."""
    try:
        return decode_metadata((folder / _METADATA).read_bytes(), f"model {folder / _METADATA}")
    except FileNotFoundError as error:
        raise UnavailableError(f"model {folder}: {error.filename} is not there; train a model") from error


def _verify(artifact: Artifact, folder: Path) -> None:
    metadata = artifact.metadata
    files = ((_MODEL, artifact.onnx, metadata.sha256), (_EXPLAINER, artifact.explainer, metadata.explainer_sha256))
    for name, content, expected in files:
        actual = hashlib.sha256(content).hexdigest()
        if actual != expected:
            raise ModelError(
                f"model {folder / name}: sha256 is {actual}, its metadata says {expected}; the file was changed or "
                "damaged: restore it, or train again"
            )
