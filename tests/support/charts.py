"""The Helm chart, as `helm` renders it. It is on the PATH, or built by `make chart`."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

__all__ = ["CHART", "EXAMPLES", "HELM", "helm", "objects"]

_ROOT = Path(__file__).parents[2]
CHART = _ROOT / "deploy" / "helm" / "encore"
EXAMPLES = sorted((CHART / "values").glob("*.yaml"))
HELM = shutil.which("helm") or shutil.which("helm", path=str(_ROOT / ".tools" / "bin"))


def helm(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run `helm`."""
    command = [str(part) for part in (HELM, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def objects(*flags: object) -> list[dict[str, Any]]:
    """What the chart makes."""
    done = helm("template", "shop", CHART, "--kube-version", "1.33", "--set", "secret=mine", *flags)
    assert done.returncode == 0, done.stderr
    return [made for made in yaml.safe_load_all(done.stdout) if made]
