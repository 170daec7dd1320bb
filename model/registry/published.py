"""The models published to the server: versions as folders, and the aliases champion and challenger.

    root/repeat_purchase/
        20261121-030405-ab12cd/    a version: model.onnx, explainer.npz, metadata.json
        champion                   an alias: a file with a version's name, its share of users, and the hash of the
        challenger                 version as MLflow has it; files with another hash are not served

A version never changes once written, and an alias is replaced atomically, so a reader gets either the old model or the
new one. MLflow (`model/registry/mlflow.py`) is the source of truth; this is the part that a server needs, readable in
microseconds.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from data.atomic import write_whole
from data.errors import ModelError, UnavailableError
from model.artifact.artifact import VERSION, Artifact, read_artifact, read_metadata, replace_artifact, write_artifact
from model.artifact.metadata import Metadata
from model.registry.mirror import Mirror
from model.registry.version import ModelVersion

__all__ = ["CHALLENGER", "CHAMPION", "Alias", "Registry"]

CHAMPION = "champion"
"""The alias of the version in use."""

CHALLENGER = "challenger"
"""The alias of the version on trial beside the champion."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Alias(NamedTuple):
    """The content of an alias: a version, its share of users (0 to 1), and the version's hash."""

    version: str = ""
    share: float = 0.0
    sha256: str = ""


class Registry:
    """The models under one folder. Constructing it accesses nothing; the folder is created with the first model.

    `tracked` returns a target's version by name as MLflow has it, or None if unknown; loaded models are checked against
    it. `mirror` is the storage shared by several machines, from which the folder is updated.
    """

    def __init__(
        self,
        root: Path,
        tracked: Callable[[str, str], ModelVersion | None] | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self.root = root
        self._tracked = tracked
        self._mirror = mirror

    def save(self, artifact: Artifact) -> str:
        """Store a trained model without moving an alias; return the name of its version."""
        version = artifact.metadata.version
        write_artifact(self._folder(artifact.metadata.target) / _checked(VERSION, version, "version"), artifact)
        return version

    def restore(self, artifact: Artifact) -> None:
        """Write a version again, replacing its folder."""
        version = _checked(VERSION, artifact.metadata.version, "version")
        replace_artifact(self._folder(artifact.metadata.target) / version, artifact)

    def delete(self, target: str, version: str) -> None:
        """Delete a version if it exists; no alias may point to it."""
        folder = self._folder(target) / _checked(VERSION, version, "version")
        if self._mirror is not None:
            self._mirror.delete(target, version)
        shutil.rmtree(folder, ignore_errors=True)

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
        return sorted(path.name for path in folder.iterdir() if VERSION.fullmatch(path.name)) if folder.is_dir() else []

    def load(self, target: str, name: str = CHAMPION) -> Artifact:
        """Return a version by its name or by an alias.

        Raises `UnavailableError` if there is none, `ModelError` if it is damaged, or was changed since it got an alias.
        """
        artifact = read_artifact(*self._place(target, name))
        version = self._tracked(target, artifact.metadata.version) if self._tracked else None
        if version is not None and not version.vouches_for(artifact):
            raise ModelError(
                f"model {target} {version.name}: the sha256 of its files is {artifact.sha256}, MLflow's registry says "
                f"{version.sha256}; `encore model promote` publishes it anew from MLflow"
            )
        return artifact

    def read(self, target: str, version: str) -> Artifact:
        """Return a version as its files are now, ignoring aliases' hashes. Raises as `load` does."""
        return read_artifact(self._folder(target) / _checked(VERSION, version, "version"))

    def metadata(self, target: str, name: str = CHAMPION) -> Metadata:
        """Return a version's metadata, by its name or an alias, without reading the model. Raises as `load` does."""
        return read_metadata(*self._place(target, name))

    def resolve(self, target: str, alias: str = CHAMPION) -> str:
        """Return the version of an alias; it is a small file, cheap to read often."""
        return self.alias(target, alias).version

    def resolve_share(self, target: str, alias: str = CHALLENGER) -> tuple[str, float]:
        """Return the version of an alias, and its share of users, 0 to 1."""
        return self.alias(target, alias)[:2]

    def alias(self, target: str, alias: str) -> Alias:
        """Return the content of an alias. Raises UnavailableError if it does not exist."""
        path = self._folder(target) / _checked(_NAME, alias, "alias")
        if self._mirror is not None:
            self._mirror.pull(target, path.parent, (CHAMPION, CHALLENGER))
        try:
            version, share, sha256, *_ = [*path.read_text().split(), "", "", ""]
        except FileNotFoundError as error:
            raise UnavailableError(
                f"model {target}: there is no {alias} ({path}); train a model, promote it"
            ) from error
        except UnicodeDecodeError as error:
            raise ModelError(f"model registry: {path} is not text ({error}); promote a version anew") from error
        _checked(VERSION, version, f"version in {path}")
        try:
            return Alias(version, min(1.0, max(0.0, float(share or 0))), sha256)
        except ValueError as error:
            raise ModelError(f"model registry: {share!r} in {path} is not a share of users, 0 to 1") from error

    def is_shared(self, target: str, alias: str) -> bool:
        """Return whether other machines see the alias too; true if models are not shared."""
        return self._mirror is None or self._mirror.has(target, _checked(_NAME, alias, "alias"))

    def names(self, target: str, alias: str) -> bool:
        """Return whether the alias exists."""
        return (self._folder(target) / _checked(_NAME, alias, "alias")).exists()

    def withdraw(self, target: str, alias: str) -> None:
        """Remove the alias."""
        path = self._folder(target) / _checked(_NAME, alias, "alias")
        if self._mirror is not None:
            self._mirror.withdraw(target, alias)
        path.unlink(missing_ok=True)

    def promote(self, target: str, version: str, alias: str = CHAMPION, *, share: float = 0.0) -> None:
        """Set the alias to a version as its files are now, after reading the version successfully."""
        folder = self._folder(target) / _checked(VERSION, version, "version")
        artifact = read_artifact(folder)
        path = self._folder(target) / _checked(_NAME, alias, "alias")
        content = f"{version} {share:g} {artifact.sha256}\n".encode()
        if self._mirror is not None:
            self._mirror.push(target, folder, alias, content)
        write_whole(path, content)

    def _place(self, target: str, name: str) -> tuple[Path, str | None]:
        """Return a version's folder, and the hash required by its alias, if it has one."""
        if not VERSION.fullmatch(name):
            resolved = self.alias(target, name)
            return self._folder(target) / resolved.version, resolved.sha256
        for alias in (CHAMPION, CHALLENGER):
            if self.names(target, alias) and self.alias(target, alias).version == name:
                return self._folder(target) / name, self.alias(target, alias).sha256
        return self._folder(target) / name, None

    def _folder(self, target: str) -> Path:
        return self.root / _checked(_NAME, target, "target")


def _checked(pattern: re.Pattern[str], name: str, what: str) -> str:
    """Return a name that becomes part of a path. Raises ModelError if it is invalid."""
    if not pattern.fullmatch(name):
        raise ModelError(f"model registry: {name!r} is not the name of a {what}")
    return name
