"""Run a notebook's cells, without Jupyter: python tests/support/notebooks.py FILE prints what each code cell prints.

With --write, that is kept in the file as the cells' outputs.
"""

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

__all__ = ["code_cells", "output_of"]


def code_cells(notebook: Any) -> list[Any]:
    """The cells of a notebook that are programs."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def output_of(cell: Any) -> str:
    """What a cell printed when the notebook was kept."""
    return "".join(text for output in cell["outputs"] for text in output["text"])


def _run(notebook: Any) -> list[str]:
    """What the code cells print, run one after the other."""
    names: dict[str, Any] = {}
    printed = []
    for cell in code_cells(notebook):
        output = io.StringIO()
        with redirect_stdout(output):
            exec("".join(cell["source"]), names)
        printed.append(output.getvalue())
    return printed


def main(file: str, *flags: str) -> None:
    notebook = json.loads(Path(file).read_text())
    printed = _run(notebook)
    if "--write" in flags:
        for cell, text in zip(code_cells(notebook), printed, strict=True):
            lines = text.splitlines(keepends=True)
            cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": lines}] if lines else []
        Path(file).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(printed))


if __name__ == "__main__":
    main(*sys.argv[1:])
