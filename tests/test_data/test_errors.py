"""The tree of errors is whole, and drawn as it is."""

import ast
import re
from pathlib import Path

import pytest
from sources import nodes

from data import errors
from data.errors import ConfigurationError, EncoreError, MissingExtraError

ROOT = Path(__file__).parents[2]
PACKAGES = ("data", "features", "events", "model", "server")


def drawn() -> dict[str, str]:
    """Each error of the drawing, with the one that it hangs on."""
    parents: dict[str, str] = {}
    line_of: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│├└─ ]*)(\w+Error)\b", line):
            depth = len(found[1]) // 4
            line_of[depth] = found[2]
            parents[found[2]] = line_of.get(depth - 1, "Exception")
    return parents


def test_the_drawing_is_the_tree() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, EncoreError)]
    assert drawn() == {error.__name__: error.__base__.__name__ for error in classes if error.__base__}
    assert {error.__name__ for error in classes} <= set(errors.__all__)


def test_every_error_is_in_the_tree() -> None:
    elsewhere = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != ROOT / "data" / "errors.py"
        for node in nodes(path)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    ]
    assert elsewhere == ["server/console/client.py: _NotWellError"], "private: it carries a body within one file"


def test_a_missing_extra_says_how_to_install_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        raise MissingExtraError("Spark: pyspark is not installed", "spark", instead="or set ENCORE_BATCH=duckdb")
    assert str(caught.value) == (
        "Spark: pyspark is not installed; install the extra (`make spark` in a clone, "
        "or `pip install '.[spark]'`), or set ENCORE_BATCH=duckdb"
    )
