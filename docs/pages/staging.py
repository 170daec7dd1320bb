"""Copy the documents to where the site is built, with links that lead to pages of the site.

A page may link to any file of the repository: a document elsewhere becomes a page, code becomes a page that shows it.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "stage"]

ROOT = Path(__file__).parents[2]

_DOCS = ROOT / "docs"
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
_FENCED = re.compile(r"(^```.*?^```\n)", re.MULTILINE | re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json", "": "make"}
_HOME = ROOT / "README.md"


def stage(folder: Path, generated: dict[str, str]) -> None:
    """Write all pages into a folder: documents, those that are `generated` (by path), and what these link to.

    Raises FileNotFoundError, naming page and link, for a link to what is not there.
    """
    texts = {_page(path): (path, path.read_text()) for path in sorted(_DOCS.rglob("*.md"))}
    texts |= {Path(name): (_DOCS / name, text) for name, text in generated.items()}
    shutil.copytree(_DOCS / "img", folder / "img")
    for name in ("colours.css", "keyboard.js"):
        shutil.copy(_DOCS / name, folder)
    written: set[Path] = set()
    while waiting := {page: texts[page] for page in texts.keys() - written}:
        for page, (source, text) in waiting.items():
            target = folder / page
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_relinked(text, source, page, texts, generated))
            written.add(page)


def _relinked(
    text: str, source: Path, page: Path, texts: dict[Path, tuple[Path, str]], generated: dict[str, str]
) -> str:
    """Return a page's text with links to pages; those that are not there yet join `texts`."""

    def lead(match: re.Match[str]) -> str:
        link, anchor = match[1], match[2] or ""
        if ":" in link:
            return match[0]
        linked = Path(os.path.normpath(source.parent / link))
        inside = linked.is_relative_to(_DOCS)
        if inside and (linked.is_dir() or str(linked.relative_to(_DOCS)) in generated or linked.suffix == ".png"):
            to = linked.relative_to(_DOCS)
        elif not linked.exists():
            raise FileNotFoundError(f"{source.relative_to(ROOT)}: the link to {link} leads nowhere")
        elif linked == _HOME:
            to = Path("index.md")
        else:
            to = _page(linked)
            texts.setdefault(to, (linked, _shown(linked)))
        return os.path.relpath(to, page.parent) + anchor

    if source.suffix != ".md":
        return text
    parts = _FENCED.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(lead, part) for part in parts)


def _page(path: Path) -> Path:
    """Return the place in the site of a file of the repository."""
    if path.is_relative_to(_DOCS) and path.suffix == ".md":
        page = path.relative_to(_DOCS)
    elif path.suffix == ".md":
        page = Path("project") / path.relative_to(ROOT)
    else:
        page = Path("source") / f"{path.relative_to(ROOT)}.md"
    return page.with_name("index.md") if page.name == "README.md" else page


def _shown(path: Path) -> str:
    """Return the text of a page about a file or folder: a document is one, code is shown."""
    if path.suffix == ".md":
        return path.read_text()
    name = path.relative_to(ROOT)
    if path.is_dir():
        listed = "".join(f"- `{one.name}`\n" for one in sorted(path.iterdir()) if not one.name.startswith(("_", ".")))
        return f"# {name}/\n\n{listed}"
    if path.suffix == ".ipynb":
        return "\n".join(_cells(json.loads(path.read_text())))
    language = _LANGUAGES.get(path.suffix, "text")
    text = path.read_text(errors="replace")  # a sample is in the encoding of the till that wrote it
    return f"# {name}\n\n````{language}\n{text}\n````\n"


def _cells(notebook: Any) -> Iterator[str]:
    """Yield the cells of a notebook as Markdown, programs with what they print."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        yield f"{source}\n" if cell["cell_type"] == "markdown" else f"```python\n{source}\n```\n"
        for output in cell.get("outputs", ()):
            yield f"```text\n{''.join(output['text'])}```\n"
