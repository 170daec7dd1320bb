"""What documents, docstrings and comments cite is in the repository."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("data", "features", "events", "model", "server")
FOLDERS = {*PACKAGES, "tests", "docs", "benchmarks", "examples", "feast"}
NO_MODULES = {"features.py", "model.error", "model.onnx", "server.allowedHosts"}
"""A file of a project, a field of the API's answer, a file of a model, and a setting of Streamlit."""


def _files() -> list[Path]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.splitlines() if (ROOT / name).exists()]


def _texts(*suffixes: str) -> Iterator[tuple[str, str]]:
    """Texts that say how things are now: neither the changelog nor superseded decisions."""
    for path in _files():
        if path.suffix in suffixes and path.name != "CHANGELOG.md":
            text = path.read_text()
            if "docs/adr" not in str(path) or not text.split("\n\n")[1].startswith("Superseded"):
                yield str(path.relative_to(ROOT)), text


def test_cited_files_exist() -> None:
    names = {path.name for path in _files()}
    cited = re.compile(r"`((?:\w[\w.-]*/)+(?:[\w-]+\.(?:py|md|toml|yml|yaml))?)`")
    missing = []
    for name, text in _texts(".md", ".py"):
        ours = {path for path in cited.findall(text) if path.split("/")[0] in FOLDERS}
        missing += [(name, path) for path in ours if not (ROOT / path).exists()]
        missing += [(name, path) for path in re.findall(r"\b[A-Z]+\.md\b", text) if path not in names]
    assert missing == []


def test_every_threat_has_tests_that_exist() -> None:
    names = {path.stem for path in _files() if path.name.startswith("test_")}
    tests = [
        (name, test)
        for name, text in _texts(".md")
        for test in re.findall(r"`(?:tests/[\w/]+/)?(test_\w+)(?:\.py)?`", text)
    ]
    assert [(name, test) for name, test in tests if test not in names] == []
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in (ROOT / "docs" / "security.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| threat ")
    ]
    assert len(rows) > 40
    assert [row[0] for row in rows if len(row) < 3 or "test_" not in row[2]] == []


def test_no_section_of_another_document_is_cited() -> None:
    sign = chr(0xA7)  # so that this file holds none
    assert [name for name, text in _texts(".md", ".py", ".yml", ".toml") if sign in text] == []


def test_cited_modules_and_names_exist() -> None:
    cited = re.compile(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`")
    missing = []
    for name, text in _texts(".md", ".py"):
        for dotted in set(cited.findall(text)) - NO_MODULES:
            parts = dotted.split(".")
            while parts and not _module(parts):
                parts.pop()
            rest = dotted.split(".")[len(parts) :]
            module = _module(parts)
            if module is None or (rest and not re.search(rf"\b{rest[0]}\b", module.read_text())):
                missing.append((name, dotted))
    assert missing == []


def test_decisions_follow_the_template() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    for path in sorted((ROOT / "docs" / "adr").glob("0*.md")):
        text = path.read_text()
        number, title = re.match(r"# (\d+)\. (.+)\n", text).groups()  # type: ignore[union-attr]
        assert f"| {number} | [{title}]({path.name}) |" in index
        assert [part for part in ("Context", "Decision", "Consequences") if f"**{part}" not in text] == [], path.name


def _module(parts: list[str]) -> Path | None:
    """The file of a dotted name, or None where it is no module."""
    path = ROOT.joinpath(*parts)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if parts and file.exists():
            return file
    return None
