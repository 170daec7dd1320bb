"""A model version as registered in MLflow, and the tags for values for which MLflow has no field."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from data.project import PROJECT
from model.artifact.artifact import Artifact

__all__ = ["EXPERIMENT", "SHARE_TAG", "SHA_TAG", "VERSION_TAG", "ModelNames", "ModelVersion"]

EXPERIMENT = PROJECT
"""The MLflow experiment that holds the runs of every target, in a home's own database."""

VERSION_TAG = "encore.version"
"""Tag of a model version: Encore's own name."""

SHA_TAG = "encore.sha256"
"""Tag of a model version: the SHA-256 of its files."""

SHARE_TAG = "encore.challenger_share"
"""Tag of a registered model: its challenger's share of users."""


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The names of a project's models on an MLflow server, which several projects may share.

    The experiment with the runs of every target is named like the project; the models are named like the targets, after
    the project's name and a dot unless it is the package's own. A home's own database holds one project only.
    """

    project: str = PROJECT

    def of(self, target: str) -> str:
        """Return the name of a target's registered model."""
        return f"{self._prefix}{target}"

    def target(self, name: str) -> str | None:
        """Return the target of a registered model; None if it is not this project's."""
        target = name.removeprefix(self._prefix)
        return target if name.startswith(self._prefix) and target.isidentifier() else None

    @property
    def _prefix(self) -> str:
        return "" if self.project == PROJECT else f"{self.project}."


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version in MLflow: its `number` there, Encore's `name`, and its aliases.

    `metrics` are those of its run, by `part.metric` such as `test.pr_auc`.
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
        """Return whether the artifact is this version's. Earlier Encores stored the hash of the ONNX file only."""
        return self.sha256 in {artifact.sha256, artifact.metadata.sha256}
