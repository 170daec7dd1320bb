"""The models published to the server: whole versions in folders, and which of them are champion and challenger.

    root/repeat_purchase/
        20261121-030405-ab12cd/    a version: model.onnx, metadata.json
        champion                   an alias: a file that holds a version's name
        challenger                 another; after the name, the share of users whom it answers

A version never changes once written; an alias is replaced atomically. So a reader gets the old model or the new one.
MLflow (`model/registry/mlflow.py`) is the source of truth; this is the part that a server needs, readable in
microseconds.
"""

import re
from pathlib import Path

from data.atomic import write_whole
from data.errors import ModelError, UnavailableError
from model.artifact.artifact import Artifact, read_artifact, read_metadata, write_artifact
from model.artifact.metadata import Metadata

__all__ = ["CHALLENGER", "CHAMPION", "Registry"]

CHAMPION = "champion"
"""The alias of the version that answers."""

CHALLENGER = "challenger"
"""The alias of the version that is tried beside the champion."""

_VERSION = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Registry:
    """The models under one folder. Opening it touches nothing; the folder appears with the first model."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, artifact: Artifact) -> str:
        """Store a trained model; return the name of its version. No alias moves."""
        version = artifact.metadata.version
        write_artifact(self._folder(artifact.metadata.target) / _checked(_VERSION, version, "version"), artifact)
        return version

    def targets(self) -> list[str]:
        """Return the names of the targets that have a version here."""
        if not self.root.is_dir():
            return []
        return sorted(
            path.name for path in self.root.iterdir() if _NAME.fullmatch(path.name) and self.versions(path.name)
        )

    def versions(self, target: str) -> list[str]:
        """Return the names of a target's versions, oldest first."""
        folder = self._folder(target)
        return (
            sorted(path.name for path in folder.iterdir() if _VERSION.fullmatch(path.name)) if folder.is_dir() else []
        )

    def load(self, target: str, name: str = CHAMPION) -> Artifact:
        """Return a version by its name or by an alias.

        Raises `UnavailableError` when there is none, `ModelError` when it is damaged.
        """
        return read_artifact(self._place(target, name))

    def metadata(self, target: str, name: str = CHAMPION) -> Metadata:
        """Return a version's metadata, by its name or an alias, without reading the model; errors as `load`."""
        return read_metadata(self._place(target, name))

    def resolve(self, target: str, alias: str = CHAMPION) -> str:
        """Return the version of an alias: a small file, cheap to read often."""
        return self.resolve_share(target, alias)[0]

    def resolve_share(self, target: str, alias: str = CHALLENGER) -> tuple[str, float]:
        """Return the version of an alias, and the share of users, 0 to 1, whom it answers."""
        path = self._folder(target) / _checked(_NAME, alias, "alias")
        try:
            version, _, share = path.read_text().strip().partition(" ")
        except FileNotFoundError as error:
            raise UnavailableError(
                f"model {target}: there is no {alias} ({path}); train a model, promote it"
            ) from error
        except UnicodeDecodeError as error:
            raise ModelError(f"model registry: {path} is not text ({error}); promote a version anew") from error
        _checked(_VERSION, version, f"version in {path}")
        try:
            return version, min(1.0, max(0.0, float(share or 0)))
        except ValueError as error:
            raise ModelError(f"model registry: {share!r} in {path} is not a share of users, 0 to 1") from error

    def names(self, target: str, alias: str) -> bool:
        """Return whether the alias exists."""
        return (self._folder(target) / _checked(_NAME, alias, "alias")).exists()

    def withdraw(self, target: str, alias: str) -> None:
        """Remove the alias."""
        (self._folder(target) / _checked(_NAME, alias, "alias")).unlink(missing_ok=True)

    def promote(self, target: str, version: str, alias: str = CHAMPION, *, share: float = 0.0) -> None:
        """Set the alias to a version, once that version has been read successfully."""
        read_artifact(self._folder(target) / _checked(_VERSION, version, "version"))
        path = self._folder(target) / _checked(_NAME, alias, "alias")
        write_whole(path, (f"{version} {share:g}\n" if share else f"{version}\n").encode())

    def _place(self, target: str, name: str) -> Path:
        return self._folder(target) / (name if _VERSION.fullmatch(name) else self.resolve(target, name))

    def _folder(self, target: str) -> Path:
        return self.root / _checked(_NAME, target, "target")


def _checked(pattern: re.Pattern[str], name: str, what: str) -> str:
    """Return the name if it is valid, since it becomes part of a path. Raises ModelError otherwise."""
    if not pattern.fullmatch(name):
        raise ModelError(f"model registry: {name!r} is not the name of a {what}")
    return name
