"""Beats: a file's age says whether a part is well."""

import os
from pathlib import Path

import pytest

from server.process.beat import Beat


def test_each_beat_makes_the_file_young_again(tmp_path: Path) -> None:
    beat = Beat(tmp_path / "beat")
    beat()
    (tmp_path / "beat").touch()
    os.utime(tmp_path / "beat", (0, 0))
    beat()
    assert (tmp_path / "beat").stat().st_mtime > 0


def test_none_is_asked_for(tmp_path: Path) -> None:
    Beat(None)()
    assert list(tmp_path.iterdir()) == []


def test_one_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Beat(tmp_path / "no folder" / "beat")()
    assert "ENCORE_BEAT" in caplog.text
