"""The life of a model: registered in MLflow, published to the server, promoted, rolled back and tried as challenger.

 train ─▶ register ─▶ promote ─▶ champion ─▶ roll back
              └─────▶ challenger ──────┘
                        shadow, or a share of users

MLflow is changed first, and then the published folder. Where the two differ MLflow is right, and `follow` makes the
published folder equal.
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
    """An alias that moved from one version to another; an empty name is none."""

    target: str
    alias: str
    before: str
    after: str
    share: float = 0.0

    def __str__(self) -> str:
        share = f" for {self.share:.0%} of users" if self.share else ""
        return f"{self.target}: {self.alias} is {self.after or 'nobody'}{share} (was {self.before or 'nobody'})"


class Lifecycle:
    """Moves models through MLflow and the published folder together. Several processes may do so.

    A lock serializes them.
    """

    def __init__(self, tracking: Tracking, registry: Registry) -> None:
        self.tracking = tracking
        self.registry = registry

    def register(self, artifact: Artifact, files: Sequence[Path] = ()) -> ModelVersion:
        """Store a trained model in both; no alias moves. Where MLflow fails, nothing is stored."""
        Predictor(artifact)
        with self._alone():
            version = self.tracking.register(artifact, files)
            self._publish(version, artifact)
        return version

    def promote(self, target: str, name: str, alias: str = CHAMPION, *, share: float = 0.0) -> Change:
        """Make a version (number, name or alias) champion or challenger, once it has been checked that it scores.

        A challenger that becomes champion is no longer challenger. Raises ModelError where it cannot.
        """
        with self._alone():
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
        """Give a newly registered version its place; what it is now, in words.

        The first of a target is champion, and any with `promote`. Others become challenger, in the shadow; a trial that
        has a share of the users goes on, and the version then has no alias.
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
        with self._alone():
            before = self._published(target, CHAMPION)
            version = self.tracking.roll_back(target)
            self._follow(target)
            return Change(target, CHAMPION, before[0], version.name)

    def withdraw(self, target: str) -> Change:
        """End the challenger's trial."""
        with self._alone():
            before = self._published(target, CHALLENGER)
            self.tracking.remove_alias(target, CHALLENGER)
            self._follow(target)
            return Change(target, CHALLENGER, before[0], "")

    def let_go(self, before: datetime) -> list[str]:
        """Delete versions that were made before that, with their runs; return their names.

        Those stay that have an alias, and the champion before the present one, to which one may go back.
        """
        gone = []
        for target in self.tracking.targets():
            with self._alone():
                needed = self.tracking.champions(target)[-2:]
                for version in self.tracking.versions(target):
                    if version.created < before and not version.aliases and version.number not in needed:
                        self.tracking.delete(version)
                        self.registry.delete(target, version.name)
                        gone.append(f"{target} {version.name}")
        return gone

    def follow(self, refused: Callable[[str, EncoreError], None]) -> list[Change]:
        """Make the published folder equal to MLflow.

        Return the changes. `refused` is called with targets that cannot follow.

        A target that MLflow does not know is left as it is.
        """
        changes: list[Change] = []
        for target in self.tracking.targets():
            try:
                with self._alone():
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
        """Publish a version's files where they differ from MLflow's, and check that it scores as in training."""
        here = self._here(version)
        if here is None:
            self.registry.restore(artifact or self.tracking.artifact(version))
            here = self.registry.read(version.target, version.name)
        Predictor(here)

    def _here(self, version: ModelVersion) -> Artifact | None:
        """Return the published version; None where its files differ from MLflow's."""
        try:
            artifact = self.registry.read(version.target, version.name)
        except EncoreError:
            return None
        return artifact if version.vouches_for(artifact) else None

    def _is_published(self, version: ModelVersion, alias: str) -> bool:
        """Return whether an alias stands for the version as MLflow has it."""
        artifact = self._here(version)
        if artifact is None or self.registry.alias(version.target, alias).sha256 != artifact.sha256:
            return False
        return self.registry.is_shared(version.target, alias)

    def _published(self, target: str, alias: str) -> tuple[str, float]:
        try:
            return self.registry.resolve_share(target, alias)
        except EncoreError:
            return "", 0.0

    def _alone(self) -> AbstractContextManager[Any]:
        """Lock the home's models: one process at a time moves them."""
        return file_lock(self.registry.root / ".lock")
