"""The release's workflow, as far as its steps need no registry: they are run as they stand."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
STEPS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]["image"][
    "steps"
]
NAMING_IMAGES = ("Dockerfile", "deploy/mlflow/Dockerfile", "docker-compose.yml")
DIGEST = "sha256:" + "0123456789abcdef" * 4

REGISTRY = f"""#!/bin/sh
echo "$@" >>asked
echo {DIGEST}
"""
"""In the place of `docker buildx imagetools inspect`: one digest for all."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the steps read, of a version that has notes."""
    for name in (*NAMING_IMAGES, "pyproject.toml", "deploy/helm/encore/Chart.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [0.1.0] - 2026-12-01\n\n- All.\n\n## [0.0.1]\n\n- Less.\n"
    )
    return tmp_path


def run(step: str, where: Path, **environment: str) -> int:
    """Run a step of the workflow as GitHub does; return its exit code."""
    (script,) = (one["run"] for one in STEPS if one.get("name", "").startswith(step))
    path = f"{where / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", script], check=False, cwd=where, env=os.environ | {"PATH": path, **environment}
    ).returncode


@pytest.mark.integration
def test_the_tag_is_the_version_and_notes_are_its_section(clone: Path) -> None:
    assert run("The tag is the version", clone, TAG="v0.1.0") == 0
    assert (clone / "notes.md").read_text().strip() == "- All."
    assert run("The tag is the version", clone, TAG="v0.2.0") != 0
    (clone / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n- All.\n")
    assert run("The tag is the version", clone, TAG="v0.1.0") != 0, "a release has notes"


@pytest.mark.integration
def test_every_base_image_gets_the_digest_that_the_registry_says(clone: Path) -> None:
    (clone / "bin").mkdir()
    (clone / "bin" / "docker").write_text(REGISTRY)
    (clone / "bin" / "docker").chmod(0o755)
    before = {name: (clone / name).read_text() for name in NAMING_IMAGES}
    assert run("Base images by their digests", clone) == 0
    named: set[str] = set()
    for name, text in before.items():
        after = (clone / name).read_text()
        assert after.replace(f"@{DIGEST}", "") == text, "nothing else changes"
        of_others = [
            image
            for image in re.findall(r"^(?:FROM| +image:) (\S+:\S+)", after, re.MULTILINE)
            if not image.startswith("encore")
        ]
        assert of_others
        assert all(image.endswith(f"@{DIGEST}") for image in of_others)
        named |= {image.partition("@")[0] for image in of_others}
    asked = (clone / "asked").read_text().splitlines()
    assert sorted(line.split()[3] for line in asked) == sorted(named), "each is asked about once"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(workflow: Path) -> None:
    used = re.findall(r"uses: (.*)", workflow.read_text())
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action) for action in used)


def test_what_is_updated_by_itself_is_where_images_are_named() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    looked_at = {
        (one["package-ecosystem"], folder)
        for one in updates
        for folder in one.get("directories", [one.get("directory")])
    }
    assert {("docker", "/"), ("docker", "/deploy/mlflow"), ("docker-compose", "/")} <= looked_at
