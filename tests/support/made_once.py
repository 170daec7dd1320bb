"""What is made once for all of pytest's workers: the first to ask makes it, the others find its files."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data.lock import file_lock

__all__ = ["keep_for_the_run", "made_once"]

_FOLDER = "TESTS_MADE_ONCE"
"""The variable that names the run's folder to its workers."""


def keep_for_the_run(config: pytest.Config) -> None:
    """Keep a folder until the run ends; a worker has that of the run that started it."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="encore-tests-")
        os.environ[_FOLDER] = folder.name
        config.add_cleanup(folder.cleanup)


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of this run, which is empty when `make` is given it. It is to be read, or copied."""
    of_run = Path(os.environ[_FOLDER])
    folder = of_run / name
    with file_lock(of_run / f"{name}.lock"):
        if not folder.exists():
            unfinished = of_run / f"{name}.unfinished"
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder
