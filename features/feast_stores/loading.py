"""Import Feast in a quarter of its time."""

import importlib
import sys
from typing import Any

__all__ = ["load_feast"]


def load_feast() -> None:
    """Import Feast without the run-time checks of argument types, unless it is imported already.

    For them Feast has typeguard parse and compile its classes' sources again, method by method, in every process: 4 of
    the 6 seconds of `import feast`. What Encore hands to Feast is checked by mypy.
    """
    if "feast" in sys.modules:
        return
    import typeguard  # noqa: PLC0415 - for Feast's sake alone

    checked = typeguard.typechecked
    typeguard.typechecked = _unchecked  # type: ignore[assignment]
    try:
        importlib.import_module("feast")
    finally:
        typeguard.typechecked = checked


def _unchecked(target: Any) -> Any:
    """Return a class as it is, which is what typeguard itself does under `python -O`."""
    return target
