"""A model version as files: `model.onnx`, `explainer.npz`, and `metadata.json` with the hashes of both."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from data.atomic import replace_folder, scratch_folder, whole_folder
from data.errors import ModelError, UnavailableError
from model.artifact.metadata import Metadata, decode_metadata, encode_metadata

__all__ = [
    "FILES",
    "METADATA",
    "VERSION",
    "Artifact",
    "name_version",
    "read_artifact",
    "read_metadata",
    "replace_artifact",
    "write_artifact",
]

_MODEL = "model.onnx"
_EXPLAINER = "explainer.npz"
METADATA = "metadata.json"

FILES = (_MODEL, _EXPLAINER, METADATA)
"""The files of a version; the last one has the hashes of the others."""

VERSION = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
"""The name of a version."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A trained model: its ONNX bytes, its metadata, and the explainer's bytes (plain numbers).

    `written` is the metadata as read from a file; empty for a new model.
    """

    onnx: bytes
    metadata: Metadata
    explainer: bytes = b""
    written: bytes = field(default=b"", compare=False, repr=False)

    @property
    def metadata_json(self) -> bytes:
        """The metadata as written to a file."""
        return self.written or encode_metadata(self.metadata)

    @property
    def sha256(self) -> str:
        """The hash of the whole version: of the metadata's file, which holds the other files' hashes."""
        return hashlib.sha256(self.metadata_json).hexdigest()


def name_version(created: datetime, onnx: bytes) -> str:
    """Return a name that sorts by time and is unique within a second, such as `20261121-030405-ab12cd`."""
    return f"{created:%Y%m%d-%H%M%S}-{hashlib.sha256(onnx).hexdigest()[:6]}"


def write_artifact(folder: Path, artifact: Artifact) -> None:
    """Write a version atomically into `folder`, which must not exist. Raises ModelError if it exists."""
    _verify(artifact, folder)
    try:
        with whole_folder(folder) as scratch:
            _fill(scratch, artifact)
    except FileExistsError as error:
        raise ModelError(f"model {folder}: this version exists already; nothing was written") from error


def replace_artifact(folder: Path, artifact: Artifact) -> None:
    """Write a version into `folder`, replacing its contents."""
    _verify(artifact, folder)
    with scratch_folder(folder) as scratch:
        _fill(scratch, artifact)
        replace_folder(scratch, folder)


def read_artifact(folder: Path, sha256: str | None = None) -> Artifact:
    """Read a version; `sha256` is the required hash.

    Raises `UnavailableError` when it is absent, `ModelError` when it is damaged or changed.
    """
    try:
        raw, onnx, explainer = ((folder / name).read_bytes() for name in (METADATA, _MODEL, _EXPLAINER))
    except FileNotFoundError as error:
        raise UnavailableError(f"model {folder}: {error.filename} is not there; train a model") from error
    _compare(raw, sha256, folder)
    artifact = Artifact(onnx, decode_metadata(raw, f"model {folder / METADATA}"), explainer, raw)
    _verify(artifact, folder)
    return artifact


def read_metadata(folder: Path, sha256: str | None = None) -> Metadata:
    """Read a version's metadata, without its model; arguments and errors as for `read_artifact`."""
    try:
        raw = (folder / METADATA).read_bytes()
    except FileNotFoundError as error:
        raise UnavailableError(f"model {folder}: {error.filename} is not there; train a model") from error
    _compare(raw, sha256, folder)
    return decode_metadata(raw, f"model {folder / METADATA}")


def _fill(folder: Path, artifact: Artifact) -> None:
    (folder / _MODEL).write_bytes(artifact.onnx)
    (folder / _EXPLAINER).write_bytes(artifact.explainer)
    (folder / METADATA).write_bytes(artifact.metadata_json)


def _compare(raw: bytes, sha256: str | None, folder: Path) -> None:
    actual = hashlib.sha256(raw).hexdigest()
    if sha256 is not None and actual != sha256:
        raise ModelError(
            f"model {folder}: sha256 of its {METADATA} is {actual}, it was published with {sha256 or 'none'}; it was "
            "changed since: `encore model promote` publishes it anew from MLflow"
        )


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
