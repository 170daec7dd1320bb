"""The compressed week: a faster calendar for whole programs, and what is taken for flat."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from week.fast_clock import FastClock
from week.flat import course_of

HALF_HOURS = [number / 48 for number in range(48 * 7)]


@pytest.mark.integration  # it compiles, and starts Python
def test_days_pass_and_waits_do_not(tmp_path: Path) -> None:
    clock = FastClock(100_000, tmp_path)
    program = """
import os, threading, time
from pathlib import Path
began, wall = time.monotonic(), time.time()
threading.Event().wait(0.5)
Path("written").touch()
print(time.monotonic() - began, time.time() - wall, time.time(), os.stat("written").st_mtime, os.stat("/").st_mtime)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clock.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    waited, passed, said, written, old = map(float, done.stdout.split())
    assert 0.5 <= waited < 30
    assert passed >= 0.5 * 100_000
    assert said <= clock() / 1e6
    assert said - 100_000 * 30 < written <= said
    assert old <= time.time(), "what was written before is as old as it was"


def test_a_level_and_a_sawtooth_are_flat_and_what_grows_is_not() -> None:
    def is_flat(sizes: list[float]) -> bool:
        return course_of(HALF_HOURS, sizes, 3.5).is_flat

    assert is_flat([100.0] * len(HALF_HOURS))
    assert is_flat([min(day, 2) * 50 for day in HALF_HOURS]), "it grew before that"
    assert is_flat([100 + 80 * (day * 1.3 % 1) for day in HALF_HOURS])
    assert not is_flat([100 * day for day in HALF_HOURS])
    assert not is_flat([100 + 80 * (day * 1.3 % 1) + 20 * day for day in HALF_HOURS])
    assert is_flat([0.0] * len(HALF_HOURS))
    with pytest.raises(ValueError, match="too few"):
        course_of([1, 2, 3], [1, 1, 1], 0)
