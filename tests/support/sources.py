"""The sources of the packages as syntax trees, each parsed and walked once for all tests that read them."""

import ast
from functools import cache
from pathlib import Path

__all__ = ["nodes", "tree"]


@cache
def tree(path: Path) -> ast.Module:
    """The module at `path`."""
    return ast.parse(path.read_text(), path.name)


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of the module, in the order of `ast.walk`."""
    return tuple(ast.walk(tree(path)))
