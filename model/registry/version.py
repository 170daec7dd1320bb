"""A version of a model as the registry knows it, and the tags by which MLflow keeps what it has no place for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from data.project import PROJECT
from model.artifact.artifact import Artifact

__all__ = ["EXPERIMENT", "SHARE_TAG", "SHA_TAG", "VERSION_TAG", "ModelNames", "ModelVersion"]

EXPERIMENT = PROJECT
"""The MLflow experiment that holds the runs of every target, in a home's own database."""

VERSION_TAG = "encore.version"
"""Of a model version: Encore's own name of it."""

SHA_TAG = "encore.sha256"
"""Of a model version: the one SHA-256 of its files."""

SHARE_TAG = "encore.challenger_share"
"""Of a registered model: the part of the users whom its challenger answers."""


@dataclass(frozen=True, slots=True)
class ModelNames:
    """What an MLflow server calls what is a project's: several may have one server. A home's own database is of one.

    The experiment that holds the runs of every target is called as the project is; the models are called as the
    targets are, after the project's name and a dot where it is not the package's own.
    """

    project: str = PROJECT

    def of(self, target: str) -> str:
        """Return the name of a target's registered model."""
        return f"{self._prefix}{target}"

    def target(self, name: str) -> str | None:
        """Return the target of a registered model; None where it is not this project's."""
        target = name.removeprefix(self._prefix)
        return target if name.startswith(self._prefix) and target.isidentifier() else None

    @property
    def _prefix(self) -> str:
        return "" if self.project == PROJECT else f"{self.project}."


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version as MLflow knows it: its `number` there, Encore's `name` of it, and which aliases it bears.

    `metrics` are the run's, by `part.metric` such as `test.pr_auc`.
    """

    target: str
    number: int
    name: str
    run_id: str
    created: datetime
    aliases: tuple[str, ...]
    metrics: Mapping[str, float]
    parameters: Mapping[str, str]
    sha256: str

    def vouches_for(self, artifact: Artifact) -> bool:
        """Return whether these are its files. Earlier versions of Encore stored the hash of the ONNX file alone."""
        return self.sha256 in {artifact.sha256, artifact.metadata.sha256}
