"""Build the site: PYTHONPATH=docs python -m pages [FOLDER], which is then in FOLDER/site (by default in .site/site)."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from features.plan.compiler import compile_plan
from pages.reference import reference
from pages.staging import ROOT, stage

__all__ = ["build"]

_FETCHED = re.compile(r"""<(?:script|img|iframe|source)[^>]*\bsrc="?(\w+:)?//|<link[^>]*\bhref="?(\w+:)?//""")


def build(folder: Path) -> Path:
    """Make the site anew in a folder; return where it is.

    Raises FileNotFoundError for a link that leads nowhere, CalledProcessError where Zensical warns, and ValueError for
    a page that would have a browser ask another host for something.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stage(folder / "pages", reference(compile_plan()))
    shutil.copy(ROOT / "docs" / "zensical.toml", folder)
    zensical = Path(sys.executable).with_name("zensical")
    subprocess.run([zensical, "build", "--strict", "--clean"], cwd=folder, check=True)  # noqa: S603 - ours
    for page in (folder / "site").rglob("*.html"):
        if strange := _FETCHED.search(page.read_text()):
            raise ValueError(f"{page}: it asks another host: {strange[0]}")
    return folder / "site"


if __name__ == "__main__":
    try:
        where = build(Path(sys.argv[1] if len(sys.argv) > 1 else ".site").absolute())
    except (subprocess.CalledProcessError, FileNotFoundError, ValueError) as error:
        sys.exit(f"the site is not built: {error}")
    sys.stdout.write(f"{where / 'index.html'}\n")
