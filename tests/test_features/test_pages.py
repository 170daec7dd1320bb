"""Programs in the documents run, and print what the documents say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.parametrize(
    "page", ["features.md", "online-format.md", "testing.md", "how-to/add-an-entity.md", "how-to/from-chronon.md"]
)
def test_the_example_prints_what_the_page_says(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    # As a reader runs it: in a process of its own.
    command = [sys.executable, "-W", "ignore", "-c", program]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == shown
