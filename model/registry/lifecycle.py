"""The lifecycle of a model: registered in MLflow, published to the server, promoted, rolled back, tried as challenger.

 train ─▶ register ─▶ promote ─▶ champion ─▶ roll back
              └─────▶ challenger ──────┘
                        shadow, or a share of users

MLflow is changed first, then the published folder. If the two differ, MLflow is right, and `follow` updates the
published folder.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import EncoreError, ModelError, UnavailableError
from data.lock import file_lock
from model.artifact.artifact import Artifact
from model.artifact.predictor import Predictor
from model.registry.mlflow import Tracking
from model.registry.published import CHALLENGER, CHAMPION, Registry
from model.registry.version import ModelVersion

__all__ = ["Change", "Lifecycle"]


class Change(NamedTuple):
    """The move of an alias from one version to another; an empty name means no version."""

    target: str
    alias: str
    before: str
    after: str
    share: float = 0.0

    def __str__(self) -> str:
        share = f" for {self.share:.0%} of users" if self.share else ""
        return f"{self.target}: {self.alias} is {self.after or 'nobody'}{share} (was {self.before or 'nobody'})"


class Lifecycle:
    """Changes models in MLflow and the published folder together. Several processes may do so.

    A lock serializes them.
    """

    def __init__(self, tracking: Tracking, registry: Registry) -> None:
        self.tracking = tracking
        self.registry = registry

    def register(self, artifact: Artifact, files: Sequence[Path] = ()) -> ModelVersion:
        """Store a trained model in both, without moving an alias. If MLflow fails, nothing is stored."""
        Predictor(artifact)
        with self._lock():
            version = self.tracking.register(artifact, files)
            self._publish(version, artifact)
        return version

    def promote(self, target: str, name: str, alias: str = CHAMPION, *, share: float = 0.0) -> Change:
        """Make a version (number, name or alias) champion or challenger, after checking that it scores.

        A challenger that becomes champion is no longer challenger. Raises ModelError if this is impossible.
        """
        with self._lock():
            version = self.tracking.find(target, name)
            if alias == CHALLENGER and CHAMPION in version.aliases:
                raise ModelError(f"model {target}: {version.name} is the champion; it cannot challenge itself")
            self._publish(version)
            before = self._published(target, alias)
            self.tracking.set_alias(version, alias, share=share)
            if alias == CHAMPION and CHALLENGER in version.aliases:
                self.tracking.remove_alias(target, CHALLENGER)
            self._follow(target)
            return Change(target, alias, before[0], version.name, share)

    def introduce(self, version: ModelVersion, *, promote: bool = False) -> str:
        """Assign a role to a newly registered version; return it in words.

        The first version of a target becomes champion, as does any with `promote`. Others become challenger, in the
        shadow, unless a challenger with a share of the users is on trial; then the version gets no alias.
        """
        target, command = version.target, "`encore model promote"
        champion, trial = self.tracking.alias(target, CHAMPION), self.tracking.alias(target, CHALLENGER)
        if champion is None or promote:
            self.promote(target, version.name)
            return "champion" + (f", in place of {champion.name}" if champion else "")
        share = self.tracking.share(target) if trial else 0.0
        if trial and share:
            return (
                f"kept, while the trial of {trial.name} with {share:.0%} of the users goes on; {command} "
                f"{version.number}` makes it champion, with `--as challenger` it takes the trial's place"
            )
        self.promote(target, version.name, CHALLENGER)
        instead = f", in place of {trial.name}, which was in the shadow" if trial else ""
        return f"challenger of {champion.name}{instead}; {command} {version.number}` makes it champion"

    def roll_back(self, target: str) -> Change:
        """Make the previous champion champion again."""
        with self._lock():
            before = self._published(target, CHAMPION)
            version = self.tracking.roll_back(target)
            self._follow(target)
            return Change(target, CHAMPION, before[0], version.name)

    def withdraw(self, target: str) -> Change:
        """End the challenger's trial."""
        with self._lock():
            before = self._published(target, CHALLENGER)
            self.tracking.remove_alias(target, CHALLENGER)
            self._follow(target)
            return Change(target, CHALLENGER, before[0], "")

    def let_go(self, before: datetime) -> list[str]:
        """Delete versions created before that time, with their runs; return their names.

        Versions with an alias stay, as does the previous champion, for a rollback.
        """
        deleted = []
        for target in self.tracking.targets():
            with self._lock():
                needed = self.tracking.champions(target)[-2:]
                for version in self.tracking.versions(target):
                    if version.created < before and not version.aliases and version.number not in needed:
                        self.tracking.delete(version)
                        self.registry.delete(target, version.name)
                        deleted.append(f"{target} {version.name}")
        return deleted

    def follow(self, refused: Callable[[str, EncoreError], None]) -> list[Change]:
        """Update the published folder from MLflow; return the changes.

        `refused` is called with targets that cannot be updated. A target that MLflow does not know is left unchanged.
        """
        changes: list[Change] = []
        for target in self.tracking.targets():
            try:
                with self._lock():
                    changes += self._follow(target)
            except (ModelError, UnavailableError) as error:
                refused(target, error)
        return changes

    def _follow(self, target: str) -> list[Change]:
        changes = []
        for alias in (CHAMPION, CHALLENGER):
            version = self.tracking.alias(target, alias)
            share = self.tracking.share(target) if version is not None and alias == CHALLENGER else 0.0
            before = self._published(target, alias)
            after = ("" if version is None else version.name, share)
            if before == after and (version is None or self._is_published(version, alias)):
                continue
            if version is None:
                self.registry.withdraw(target, alias)
            else:
                self._publish(version)
                self.registry.promote(target, version.name, alias, share=share)
            changes.append(Change(target, alias, before[0], *after))
        return changes

    def _publish(self, version: ModelVersion, artifact: Artifact | None = None) -> None:
        """Publish a version's files if they differ from MLflow's, and check that it scores as in training."""
        published = self._published_artifact(version)
        if published is None:
            self.registry.restore(artifact or self.tracking.artifact(version))
            published = self.registry.read(version.target, version.name)
        Predictor(published)

    def _published_artifact(self, version: ModelVersion) -> Artifact | None:
        """Return the published version; None if its files differ from MLflow's."""
        try:
            artifact = self.registry.read(version.target, version.name)
        except EncoreError:
            return None
        return artifact if version.vouches_for(artifact) else None

    def _is_published(self, version: ModelVersion, alias: str) -> bool:
        """Return whether a published alias points to this version with MLflow's files."""
        artifact = self._published_artifact(version)
        if artifact is None or self.registry.alias(version.target, alias).sha256 != artifact.sha256:
            return False
        return self.registry.is_shared(version.target, alias)

    def _published(self, target: str, alias: str) -> tuple[str, float]:
        try:
            return self.registry.resolve_share(target, alias)
        except EncoreError:
            return "", 0.0

    def _lock(self) -> AbstractContextManager[Any]:
        """Lock the home's models, so that one process at a time changes them."""
        return file_lock(self.registry.root / ".lock")
