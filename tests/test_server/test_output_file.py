"""Output of child processes: bounded while they write, and its end told."""

import subprocess
import sys
from pathlib import Path

import pytest

from server.output_file import OutputFile


@pytest.mark.integration
def test_a_child_that_writes_for_ever_fills_no_disk(tmp_path: Path) -> None:
    output = OutputFile(tmp_path / "run" / "part.log", most_bytes=100_000)
    # Some 60 kB between two looks, however busy the machine is.
    write = "import os\nwhile os.read(0, 1):\n  os.write(1, b'line 1 %a\\n' % ('x' * 50) * 1000); os.write(2, b'.')"
    with output.open() as log:
        child = subprocess.Popen(
            [sys.executable, "-c", write], bufsize=0, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.PIPE
        )
    assert child.stdin
    assert child.stderr
    try:
        largest = 0
        for _ in range(200):
            child.stdin.write(b"\n")
            assert child.stderr.read(1) == b".", "it has written"
            output.keep_short()
            largest = max(largest, sum(path.stat().st_size for path in output.path.parent.iterdir()))
        assert (tmp_path / "run" / "part.log.1").exists()
    finally:
        child.kill()
        child.communicate()
    assert largest < 10 * 100_000, "it is cut as often as it is looked at"
    lines = [line for line in output.path.read_bytes().splitlines() if line]
    assert all(line.startswith((b"line", b"x")) for line in lines[1:]), "no hole where it was cut"
    assert "line" in output.tail(3)
    assert len(output.tail(3).splitlines()) == 3


def test_what_was_cut_last_is_told_too(tmp_path: Path) -> None:
    output = OutputFile(tmp_path / "part.log", most_bytes=100)
    with output.open() as log:
        log.write(b"x" * 100 + b"\nlast words\n")
    output.keep_short()
    assert output.path.stat().st_size == 0
    assert output.tail(1) == "  last words"
    with output.open():
        assert output.tail() == "  (it is empty)", "of the child before"


def test_what_was_before_is_kept_and_is_not_told_of_this_child(tmp_path: Path) -> None:
    output = OutputFile(tmp_path / "part.log")
    with output.open() as log:
        log.write(b"of before\n")
    with output.open() as log:
        assert output.tail() == "  (it is empty)"
        log.write(b"now\n")
    assert output.tail() == "  now"
    assert (tmp_path / "part.log").read_bytes() == b"of before\nnow\n"


def test_long_lines_and_bytes_that_are_no_text_are_told_short(tmp_path: Path) -> None:
    output = OutputFile(tmp_path / "part.log")
    with output.open() as log:
        log.write(b"\xff" * 10_000_000 + b"\n")
    assert len(output.tail()) < 1000
    assert OutputFile(tmp_path / "missing.log").tail() == "  (it is empty)"
