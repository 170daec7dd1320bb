"""The models that are published to the server: whole versions in folders, and which of them are champion, challenger.

    root/repeat_purchase/
        20261121-030405-ab12cd/    a version: model.onnx, metadata.json
        champion                   an alias: a file that holds a version's name, the share of users whom it answers, and
        challenger                 the one hash of the version as MLflow has it: another version is not served

A version never changes once written; an alias is replaced in one step. So a reader meets the old model or the new one.
MLflow (`model/registry/mlflow.py`) is the truth; this is what of it a server needs, readable in microseconds.
"""

import re
from pathlib import Path
from typing import NamedTuple

from data.atomic import write_whole
from data.errors import ModelError, UnavailableError
from model.artifact.artifact import Artifact, read_artifact, read_metadata, replace_artifact, write_artifact
from model.artifact.metadata import Metadata

__all__ = ["CHALLENGER", "CHAMPION", "Alias", "Registry"]

CHAMPION = "champion"
"""The alias of the version that answers."""

CHALLENGER = "challenger"
"""The alias of the version that is tried beside it."""

_VERSION = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Alias(NamedTuple):
    """What an alias stands for: a version, the share of users (0 to 1) whom it answers, and the version's one hash."""

    version: str = ""
    share: float = 0.0
    sha256: str = ""


class Registry:
    """The models under one folder. Opening it touches nothing; the folder appears with the first model."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, artifact: Artifact) -> str:
        """Keep a trained model; the name of its version. No alias moves."""
        version = artifact.metadata.version
        write_artifact(self._folder(artifact.metadata.target) / _checked(_VERSION, version, "version"), artifact)
        return version

    def restore(self, artifact: Artifact) -> None:
        """Put a version here again as it was, whatever its folder holds by now."""
        version = _checked(_VERSION, artifact.metadata.version, "version")
        replace_artifact(self._folder(artifact.metadata.target) / version, artifact)

    def targets(self) -> list[str]:
        """Names of the targets that have a version here."""
        if not self.root.is_dir():
            return []
        return sorted(
            path.name for path in self.root.iterdir() if _NAME.fullmatch(path.name) and self.versions(path.name)
        )

    def versions(self, target: str) -> list[str]:
        """Names of a target's versions, oldest first."""
        folder = self._folder(target)
        return (
            sorted(path.name for path in folder.iterdir() if _VERSION.fullmatch(path.name)) if folder.is_dir() else []
        )

    def load(self, target: str, name: str = CHAMPION) -> Artifact:
        """A version by its name or by an alias.

        Raises `UnavailableError` when there is none, `ModelError` when it is damaged, or not the one that an alias of it
        was given to.
        """
        return read_artifact(*self._place(target, name))

    def read(self, target: str, version: str) -> Artifact:
        """A version as it lies here, whatever an alias was given to; errors as `load`."""
        return read_artifact(self._folder(target) / _checked(_VERSION, version, "version"))

    def metadata(self, target: str, name: str = CHAMPION) -> Metadata:
        """What is known of a version, by its name or an alias, without reading the model; errors as `load`."""
        return read_metadata(*self._place(target, name))

    def resolve(self, target: str, alias: str = CHAMPION) -> str:
        """The version an alias stands for: a small file, cheap to ask often."""
        return self.alias(target, alias).version

    def resolve_share(self, target: str, alias: str = CHALLENGER) -> tuple[str, float]:
        """The version an alias stands for, and the share of users, 0 to 1, whom it answers."""
        return self.alias(target, alias)[:2]

    def alias(self, target: str, alias: str) -> Alias:
        """What an alias stands for; UnavailableError where it stands for nothing."""
        path = self._folder(target) / _checked(_NAME, alias, "alias")
        try:
            version, share, sha256, *_ = [*path.read_text().split(), "", "", ""]
        except FileNotFoundError as error:
            raise UnavailableError(
                f"model {target}: there is no {alias} ({path}); train a model, promote it"
            ) from error
        _checked(_VERSION, version, f"version in {path}")
        try:
            return Alias(version, min(1.0, max(0.0, float(share or 0))), sha256)
        except ValueError as error:
            raise ModelError(f"model registry: {share!r} in {path} is not a share of users, 0 to 1") from error

    def names(self, target: str, alias: str) -> bool:
        """Whether the alias stands for anything."""
        return (self._folder(target) / _checked(_NAME, alias, "alias")).exists()

    def withdraw(self, target: str, alias: str) -> None:
        """Let the alias stand for nothing."""
        (self._folder(target) / _checked(_NAME, alias, "alias")).unlink(missing_ok=True)

    def promote(self, target: str, version: str, alias: str = CHAMPION, *, share: float = 0.0) -> None:
        """Make the alias stand for a version as it is here now, once that version has proved readable."""
        artifact = read_artifact(self._folder(target) / _checked(_VERSION, version, "version"))
        path = self._folder(target) / _checked(_NAME, alias, "alias")
        write_whole(path, f"{version} {share:g} {artifact.sha256}\n".encode())

    def _place(self, target: str, name: str) -> tuple[Path, str | None]:
        """A version's folder, and the hash that it must have: that of an alias that stands for it."""
        if not _VERSION.fullmatch(name):
            found = self.alias(target, name)
            return self._folder(target) / found.version, found.sha256
        for alias in (CHAMPION, CHALLENGER):
            if self.names(target, alias) and self.alias(target, alias).version == name:
                return self._folder(target) / name, self.alias(target, alias).sha256
        return self._folder(target) / name, None

    def _folder(self, target: str) -> Path:
        return self.root / _checked(_NAME, target, "target")


def _checked(pattern: re.Pattern[str], name: str, what: str) -> str:
    """The name, if it is one: it becomes part of a path."""
    if not pattern.fullmatch(name):
        raise ModelError(f"model registry: {name!r} is not the name of a {what}")
    return name
