"""Encore's version, and the commit that it was built from."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

__all__ = ["Version", "this_version"]

_COMMIT = Path(__file__).with_name("commit")
"""Written when the image is built."""


class Version(NamedTuple):
    """A version such as 0.1.0, and a commit's hash; empty if unknown."""

    version: str
    commit: str


def this_version() -> Version:
    """Return the installed version, and the commit of the image or of the clone that it runs in."""
    return Version(version("encore-features"), _commit())


def _commit() -> str:
    folder = Path(__file__).parents[1]
    if _COMMIT.exists():
        return _COMMIT.read_text().strip()
    if not (folder / ".git").exists():
        return ""
    try:
        command = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
        completed = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""  # there is no git, or it does not answer
    return completed.stdout.strip()
