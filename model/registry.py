"""Which model versions there are, and which of them is the champion.

    root/repeat_purchase/
        20261121-030405-ab12cd/    a version: model.onnx, metadata.json
        champion                   an alias: a file that holds a version's name

A version never changes once written; an alias is replaced in one step. So a reader meets the old model or the new one.
"""

import re
import uuid
from pathlib import Path

from data.errors import ModelError, UnavailableError
from model.artifact import Artifact, read_artifact, write_artifact

__all__ = ["CHAMPION", "Registry"]

CHAMPION = "champion"
"""The alias of the version that answers."""

_VERSION = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Registry:
    """The models under one folder. Opening it touches nothing; the folder appears with the first model."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, artifact: Artifact) -> str:
        """Keep a trained model; the name of its version. No alias moves."""
        version = artifact.metadata.version
        write_artifact(self._folder(artifact.metadata.target) / _checked(_VERSION, version, "version"), artifact)
        return version

    def versions(self, target: str) -> list[str]:
        """Names of a target's versions, oldest first."""
        folder = self._folder(target)
        return (
            sorted(path.name for path in folder.iterdir() if _VERSION.fullmatch(path.name)) if folder.is_dir() else []
        )

    def load(self, target: str, name: str = CHAMPION) -> Artifact:
        """A version by its name or by an alias.

        Raises `UnavailableError` when there is none, `ModelError` when it is damaged.
        """
        version = name if _VERSION.fullmatch(name) else self.resolve(target, name)
        return read_artifact(self._folder(target) / version)

    def resolve(self, target: str, alias: str = CHAMPION) -> str:
        """The version an alias stands for: a small file, cheap to ask often."""
        path = self._folder(target) / _checked(_NAME, alias, "alias")
        try:
            version = path.read_text().strip()
        except FileNotFoundError as error:
            raise UnavailableError(
                f"model {target}: there is no {alias} ({path}); train a model, promote it"
            ) from error
        return _checked(_VERSION, version, f"version in {path}")

    def promote(self, target: str, version: str, alias: str = CHAMPION) -> None:
        """Make the alias stand for a version, once that version has proved readable."""
        read_artifact(self._folder(target) / _checked(_VERSION, version, "version"))
        path = self._folder(target) / _checked(_NAME, alias, "alias")
        scratch = path.with_name(f".{alias}.{uuid.uuid4().hex}")
        try:
            scratch.write_text(f"{version}\n")
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise

    def _folder(self, target: str) -> Path:
        return self.root / _checked(_NAME, target, "target")


def _checked(pattern: re.Pattern[str], name: str, what: str) -> str:
    """The name, if it is one: it becomes part of a path."""
    if not pattern.fullmatch(name):
        raise ModelError(f"model registry: {name!r} is not the name of a {what}")
    return name
